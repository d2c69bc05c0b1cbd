"""`make bench`."""

import argparse
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench import keyed, latency, log_writes, otp, queues, receipts, skip, startup
from bench.databases import new_database, postgres
from bench.load import Shape, cpu_per_call, sent_so_far
from bench.processes import Server, gateway, module

SHAPES = (Shape(1, 1), Shape(4, 16))
ECHO = "bare grpc.aio echo"
FULL = "full path, 10 % of traces sampled"
BOTO = "boto3 in threads, without gRPC, log or traces"
NEVER_OPEN = {"RELAYPOST_SES_BREAKER_FAILURES": "1000", "RELAYPOST_SES_BREAKER_RATE": "2"}
QUIET_EVENTS = {"RELAYPOST_LOG_LEVEL": "ERROR"}
Costs = dict[tuple[str, Shape], list[float]]


@dataclass(frozen=True)
class Row:
    """A gateway to measure: its name in the table, and its settings."""

    name: str
    environ: Mapping[str, str]


def rows(ok: Server, busy: Server, sink: Server) -> Sequence[Row]:
    base = {
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "OTP_FROM_EMAIL": "noreply@example.com",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{sink.port}",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.1",
        "RELAYPOST_OTP_PEPPER": otp.PEPPER,
        "RELAYPOST_SES_ENDPOINT": f"http://127.0.0.1:{ok.port}",
        "RELAYPOST_SHUTDOWN_DELAY_SECONDS": "0",
        "RELAYPOST_SNS_ENABLED": "false",
    }
    second = (
        base
        | QUIET_EVENTS
        | {
            "SENDGRID_API_KEY": "key",
            "RELAYPOST_SENDGRID_ENDPOINT": f"http://127.0.0.1:{ok.port}",
        }
    )
    refusing, down = {"RELAYPOST_SES_ENDPOINT": "http://127.0.0.1:9"}, f"http://127.0.0.1:{busy.port}"
    return [
        Row(FULL, base),
        Row("full path, every trace sampled", base | {"OTEL_TRACES_SAMPLER_ARG": "1"}),
        Row("first provider's circuit open", second | refusing | {"RELAYPOST_SES_BREAKER_OPEN_SECONDS": "3600"}),
        Row("first provider refuses connections", second | refusing | NEVER_OPEN),
        Row("first provider answers 503", second | NEVER_OPEN | {"RELAYPOST_SES_ENDPOINT": down}),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--rounds", type=int, default=9, help="how often each row is measured")
    parser.add_argument("--calls", type=int, default=1000, help="calls in each measurement of a gateway")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = stack.enter_context(postgres())
        ok, busy = stack.enter_context(module("bench.stub")), stack.enter_context(module("bench.stub", "503"))
        sink, echo = stack.enter_context(module("bench.sink")), stack.enter_context(module("bench.echo"))
        servers, databases = {ECHO: echo}, dict[str, str]()
        for number, row in enumerate(rows(ok, busy, sink)):
            databases[row.name] = new_database(url, f"row_{number}")
            environ = {**row.environ, "RELAYPOST_DATABASE_URL": databases[row.name]}
            servers[row.name] = stack.enter_context(gateway(environ))
        costs = _measure(servers, ok, options.rounds, options.calls)
        _print_costs(costs)
        _print_others(servers[FULL], ok, new_database(url, "log"), new_database(url, "receipts"))
        _print_otp(*otp.measure(echo, servers[FULL], databases[FULL], 3200, options.rounds))
        startup.show(startup.measure(new_database(url, "startup"), options.rounds))
        queues.show(queues.measure(url, ok, queues.DEPTHS))


def _measure(servers: Mapping[str, Server], stub: Server, rounds: int, calls: int) -> Costs:
    """Round after round, each row in turn: whatever the machine does, it does to all."""
    costs: Costs = defaultdict(list)
    for server in servers.values():
        cpu_per_call(server, calls // 2, SHAPES[-1])
    sent = {name: sent_so_far(s) for name, s in servers.items() if s.http}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for shape in SHAPES:
            for name, server in servers.items():
                costs[name, shape].append(cpu_per_call(server, calls, shape))
        command = [sys.executable, "-m", "bench.boto", str(stub.port), str(calls)]
        costs[BOTO, SHAPES[-1]].append(float(subprocess.check_output(command, text=True)))
    for name, before in sent.items():
        counted = sent_so_far(servers[name]) - before
        if counted != rounds * calls * len(SHAPES):
            raise RuntimeError(f"{name}: {counted} messages were sent")
    return costs


def _print_costs(costs: Costs) -> None:
    table = Table(title=f"CPU time of the server process, medians of {len(costs[ECHO, SHAPES[0]])} rounds")
    table.add_column("")
    for shape in SHAPES:
        for heading in (f"{shape} in flight: us a call", "calls a CPU-second", "of the echo"):
            table.add_column(heading, justify="right")
    for name in dict.fromkeys(name for name, _ in costs):
        cells = []
        for shape in SHAPES:
            cells += _cells(costs, name, shape)
        table.add_row(name, *cells)
    Console(width=150).print(table)


def _cells(costs: Costs, name: str, shape: Shape) -> list[str]:
    found = costs.get((name, shape))
    if not found:
        return ["", "", ""]
    cost = statistics.median(found)
    ratio = statistics.median(e / c for e, c in zip(costs[ECHO, shape], found, strict=True))
    return [f"{cost:.0f}", f"{1e6 / cost:.0f}", f"{ratio:.0%}"]


def _print_others(full: Server, stub: Server, database: str, receipts_database: str) -> None:
    table = Table("", "", title="and beside them", show_header=False)
    refused, skipped = skip.measure()
    table.add_row("open circuit: refused", f"{refused:.2f} us")
    table.add_row("open circuit: refused, and decided to skip", f"{skipped:.2f} us")
    rates = log_writes.measure(database, 20_000)
    for name, rate in rates.items():
        table.add_row(f"log, {name}", f"{rate:.0f} messages/s, batched is {rates['batched'] / rate:.1f} x that")
    told = receipts.measure(receipts_database, 10_000, 1000)
    table.add_row("receipts, in batches of 1,000", f"{told.clock:.0f} events/s, {told.cpu:.0f} a CPU-second")
    plain, keyed_calls = keyed.measure(full, 3200, 5)
    table.add_row(
        "a request_id, 64 in flight",
        f"{keyed_calls.cpu:.0f} us of the server's CPU, {plain.cpu:.0f} us without: "
        f"{keyed_calls.cpu - plain.cpu:.0f} us more",
    )
    table.add_row(
        "a request_id, 1 in flight, p50",
        f"{keyed_calls.latency:.2f} ms, {plain.latency:.2f} ms without: "
        f"{keyed_calls.latency - plain.latency:.2f} ms more",
    )
    for in_flight, calls in ((1, 1000), (64, 6400)):
        direct, through = latency.measure(full.port, stub.port, calls, in_flight)
        for percent in (50, 99):
            a, b = (found[len(found) * percent // 100] for found in (direct, through))
            table.add_row(
                f"latency, {in_flight} in flight, p{percent}",
                f"{b:.2f} ms through the gateway, {a:.2f} ms directly: {b - a:.2f} ms more",
            )
    Console(width=150).print(table)


def _print_otp(costs: otp.Costs, alike: Mapping[str, float]) -> None:
    table = Table("", "", title="one-time passwords", show_header=False)
    table.add_row(
        "VerifyOtp, a right code, 64 in flight",
        f"{costs.verified:.0f} us of the server's CPU, {costs.echo:.0f} us the echo: {costs.of_the_echo:.0%} of it",
    )
    table.add_row("VerifyOtp, a wrong code, 64 in flight", f"{costs.refused:.0f} us of the server's CPU")
    for kind, duration in alike.items():
        table.add_row(f"refused: {kind}, p50", f"{duration:.2f} ms")
    spread = max(alike.values()) - min(alike.values())
    table.add_row("refusals: the slowest median less the fastest", f"{spread:.2f} ms")
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
