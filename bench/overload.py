"""What calls that are accepted wait, and how many there are, when more come than the gateway can carry.

Run as `python -m bench.overload`. h2load calls SendEmail at a fixed rate, whether
answers come or not. It does not tell a refused call from an accepted one (both are
HTTP 200), but the gateway tells how many messages it sent: the slowest so many
answers are taken for theirs, for the transport refuses within a few milliseconds.
"""

import argparse
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.__main__ import FULL, rows
from bench.databases import new_database, postgres
from bench.load import METHOD, framed, h2load, sent_so_far
from bench.processes import Server, gateway, module

CONNECTIONS = 8
_HEADERS = ("-H", "content-type: application/grpc", "-H", "te: trailers")


@dataclass(frozen=True)
class Load:
    """What came of one run."""

    offered: float
    """Calls a second that were begun."""
    goodput: float
    """Messages a second that were sent."""
    p50: float
    """Milliseconds, of calls that were accepted."""
    p99: float
    cpu: float
    """Cores that the gateway used."""


def run(server: Server, seconds: float, *, rate: int | None = None, in_flight: int = 100) -> Load:
    """Calls at `rate` a second; without one, a new call for each that ends, with `in_flight` on each connection."""
    with tempfile.TemporaryDirectory() as folder:
        log, frame = Path(folder) / "log", framed(Path(folder))
        command = [h2load(), "-D", f"{seconds:g}s", "-c", str(CONNECTIONS), "-m", str(in_flight)]
        command += ["-d", str(frame), f"--log-file={log}", *_HEADERS]
        if rate is not None:
            command.append(f"--rps={rate / CONNECTIONS}")
        before, used = sent_so_far(server), server.cpu_seconds()
        subprocess.run([*command, f"http://127.0.0.1:{server.port}{METHOD}"], check=True, capture_output=True)
        sent, used = sent_so_far(server) - before, server.cpu_seconds() - used
        calls = [line.split("\t") for line in log.read_text().splitlines()]
    answered = sorted(int(took) / 1000 for _, status, took in calls if status == "200")[-sent:] or [0.0]
    return Load(
        offered=len(calls) / seconds,
        goodput=sent / seconds,
        p50=answered[len(answered) // 2],
        p99=answered[len(answered) * 99 // 100],
        cpu=used / seconds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.overload")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each run takes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pending", type=int, nargs="*", default=[], help="RELAYPOST_MAX_PENDING_CALLS, one row each")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = stack.enter_context(postgres())
        ok, sink = stack.enter_context(module("bench.stub")), stack.enter_context(module("bench.sink"))
        base = next(row for row in rows(ok, ok, sink) if row.name == FULL).environ
        servers = {}
        for number, pending in enumerate(options.pending or [None]):
            environ = {**base, "RELAYPOST_DATABASE_URL": new_database(url, f"overload_{number}")}
            if pending:
                environ["RELAYPOST_MAX_PENDING_CALLS"] = str(pending)
            servers[str(pending or "default")] = stack.enter_context(gateway(environ))
        table = Table("pending", "load", "offered/s", "sent/s", "p50 ms", "p99 ms", "cores", "goodput", "p99 x")
        for _ in range(options.rounds):
            for name, server in servers.items():
                _measure(name, server, options.seconds, table)
        Console(width=150).print(table)


def _measure(name: str, server: Server, seconds: float, table: Table) -> None:
    run(server, 2.0, in_flight=8)
    peak = run(server, seconds, in_flight=8)
    at_peak = run(server, seconds, rate=int(peak.goodput * 0.95))
    runs = {
        "closed loop, 64 in flight": peak,
        "95 % of that": at_peak,
        "3 x": run(server, seconds, rate=int(3 * peak.goodput), in_flight=1000),
        "hammering": run(server, seconds, in_flight=250),
    }
    for load, found in runs.items():
        table.add_row(
            name,
            load,
            f"{found.offered:.0f}",
            f"{found.goodput:.0f}",
            f"{found.p50:.1f}",
            f"{found.p99:.1f}",
            f"{found.cpu:.2f}",
            f"{found.goodput / peak.goodput:.0%}",
            f"{found.p99 / at_peak.p99:.1f}",
        )


if __name__ == "__main__":
    main()
