"""The queue on each engine: what a message costs that is taken on, and one that is sent out of it.

A batch is streamed into a gateway that does not work at the queue, until the
engine has a pointer to each of its messages; then another gateway sends some to
a stub of a provider. Both are measured while so many others wait.
`python -m bench.queues --deep` goes on to a million.

PostgreSQL's own upkeep (vacuums, checkpoints) comes when it likes, and is about
what came before: it is spread over all that were taken on so far.
"""

import argparse
import asyncio
import os
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import aio_pika
from relaypost import Client, bulk_email
from relaypost.v1 import queue_service_pb2 as pb
from rich.console import Console
from rich.table import Table

from bench.databases import count, cpu, new_database, postgres
from bench.load import sent_so_far
from bench.processes import Server, gateway, module
from relaypost_server.core.queue import Lane

DEPTHS = (1_000, 10_000, 100_000)
DEEP = 1_000_000
RABBIT = os.environ.get("RELAYPOST_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
SAMPLE = 10_000
"""Messages that are taken on, and half as many that are sent, while they are measured at each depth."""
WARM = 200
"""Messages that are sent before the measurement begins."""
LOOK_SECONDS = 0.1
GIVE_UP_SECONDS = 600.0
_BASE = {
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "OTEL_TRACES_EXPORTER": "none",
    "RELAYPOST_LOG_LEVEL": "ERROR",
    "RELAYPOST_OTP_PEPPER": "a-pepper-for-measurements-of-32-characters",
    "RELAYPOST_QUEUE_BULK_HANDS": "64",
    "RELAYPOST_SES_RATE": "0",
    "RELAYPOST_SHUTDOWN_DELAY_SECONDS": "0",
    "RELAYPOST_SNS_ENABLED": "false",
}


@dataclass(frozen=True)
class Cost:
    """Of one message on average."""

    cpu: float
    """Seconds of the gateway."""
    database: float
    """CPU seconds of PostgreSQL's connections."""


@dataclass(frozen=True)
class Row:
    """An engine with so many messages waiting, or why there is nothing to tell."""

    engine: str
    depth: int = 0
    taken_on: Cost | None = None
    sent: Cost | None = None
    upkeep: float = 0.0
    """CPU seconds of the rest of PostgreSQL while messages were taken on, for each of the engine so far."""
    why_not: str = ""


@dataclass(frozen=True)
class Bench:
    """An engine under measurement, and nothing else on its PostgreSQL meanwhile."""

    engine: str
    environ: Mapping[str, str]
    database: str

    def depths(self, depths: Sequence[int]) -> Iterator[Row]:
        """Fills the queue step by step, and measures on each."""
        with ExitStack() as stack:
            server = stack.enter_context(gateway({**self.environ, "RELAYPOST_QUEUE_WORK_IN_SERVE": "false"}))
            client = stack.enter_context(Client(f"127.0.0.1:{server.port}"))
            upkeep, taken_on_so_far = 0.0, 0
            for depth in depths:
                before, missing = cpu(self.database).upkeep, max(0, depth - self._waiting())
                self._fill(client, missing)
                taken_on = self._taken_on(server, client)
                upkeep += cpu(self.database).upkeep - before
                taken_on_so_far += missing + SAMPLE
                yield Row(self.engine, depth, taken_on, self._sent(), upkeep / taken_on_so_far)

    def _fill(self, client: Client, messages: int) -> None:
        if messages > 0:
            client.send_bulk(uuid.uuid4().hex, _messages(messages))
        self._until_handed_over()

    def _taken_on(self, server: Server, client: Client) -> Cost:
        meter = Meter(server, self.database)
        self._fill(client, SAMPLE)
        return meter.cost(SAMPLE)

    def _sent(self) -> Cost:
        """Of messages that a gateway with nothing else to do sends as fast as it can."""
        with gateway(self.environ) as worker:
            before = _sent_after(worker, WARM)
            meter = Meter(worker, self.database)
            after = _sent_after(worker, before + SAMPLE // 2)
            return meter.cost(after - before)

    def _waiting(self) -> int:
        return count(self.database, "SELECT count(*) FROM relaypost.queue")

    def _until_handed_over(self) -> None:
        end = time.monotonic() + GIVE_UP_SECONDS
        while count(self.database, "SELECT count(*) FROM relaypost.queue WHERE handed_time IS NULL"):
            if time.monotonic() > end:
                raise RuntimeError(f"{self.engine} does not take its pointers")
            time.sleep(LOOK_SECONDS)


class Meter:
    """Runs from now on."""

    def __init__(self, server: Server, database: str) -> None:
        self._server = server
        self._database = database
        self._began = self._now()

    def cost(self, messages: int) -> Cost:
        return Cost(*((now - then) / messages for then, now in zip(self._began, self._now(), strict=True)))

    def _now(self) -> tuple[float, float]:
        return self._server.cpu_seconds(), cpu(self._database).serving


def measure(server: str, stub: Server, depths: Sequence[int]) -> Iterator[Row]:
    """Each engine, with a database of its own on the server."""

    def bench(engine: str, environ: Mapping[str, str]) -> Bench:
        database = new_database(server, f"queue_{engine.lower()}")
        own = {"RELAYPOST_DATABASE_URL": database, "RELAYPOST_SES_ENDPOINT": f"http://127.0.0.1:{stub.port}"}
        return Bench(engine, {**_BASE, **own, **environ}, database)

    yield from bench("PostgreSQL", {}).depths(depths)
    with _rabbit() as url:
        if url:
            yield from bench("RabbitMQ", {"RELAYPOST_QUEUE_URL": url}).depths(depths)
        else:
            yield Row("RabbitMQ", why_not="none answers; RELAYPOST_TEST_RABBITMQ_URL may name one")
    with module("bench.sqs") as sqs:
        endpoint = {"RELAYPOST_QUEUE_ENDPOINT": f"http://127.0.0.1:{sqs.port}"}
        yield from bench("SQS", {"RELAYPOST_QUEUE_URL": "sqs://us-east-1/bench", **endpoint}).depths(depths)


def show(rows: Iterator[Row]) -> None:
    table = Table(title="a queued message: CPU time of the gateway and of PostgreSQL's connections, us")
    table.add_column("engine, messages waiting")
    for what in ("taken on", "sent"):
        for heading in (f"{what} a CPU-second", "gateway", "PostgreSQL"):
            table.add_column(heading, justify="right")
    table.add_column("and its upkeep", justify="right")
    for row in rows:
        name = f"{row.engine}: {row.why_not}" if row.why_not else f"{row.engine}, {row.depth:,}"
        cells = [] if row.why_not else [*_cells(row.taken_on), *_cells(row.sent), _micros(row.upkeep)]
        print(name, *cells, file=sys.stderr)  # The table comes an hour later where there is a million.
        table.add_row(name, *cells)
    Console(width=150).print(table)


def _cells(cost: Cost | None) -> list[str]:
    """`a CPU-second`: of the gateway."""
    if cost is None:
        return ["", "", ""]
    return [f"{1 / cost.cpu:,.0f}", _micros(cost.cpu), _micros(cost.database)]


def _micros(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f}"


def _sent_after(server: Server, messages: int) -> int:
    """Waits until so many have been sent; how many there are then."""
    end = time.monotonic() + GIVE_UP_SECONDS
    while (sent := sent_so_far(server)) < messages:
        if time.monotonic() > end:
            raise RuntimeError(f"{sent} of {messages} messages were sent")
        time.sleep(LOOK_SECONDS)
    return sent


def _messages(number: int) -> Iterator[pb.BulkMessage]:
    return (
        bulk_email(to=f"reader{n}@example.com", sender="news@example.com", subject="News", text=f"Dear reader {n}")
        for n in range(number)
    )


@contextmanager
def _rabbit() -> Iterator[str | None]:
    """The URL of a RabbitMQ with a prefix of its own, whose queues are deleted; None where none answers."""
    prefix = f"bench-{uuid.uuid4().hex}"

    async def delete() -> None:
        async with await aio_pika.connect(RABBIT, timeout=5) as connection:
            channel = await connection.channel()
            for lane in Lane:
                await channel.queue_delete(f"{prefix}-{lane.value}")

    try:
        asyncio.run(delete())
    except (OSError, TimeoutError, aio_pika.exceptions.AMQPError):
        yield None
        return
    try:
        yield f"{RABBIT}?prefix={prefix}"
    finally:
        asyncio.run(delete())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deep", action="store_true", help="a million messages as well, which takes many minutes")
    depths = (*DEPTHS, DEEP) if parser.parse_args().deep else DEPTHS
    with ExitStack() as stack:
        url = stack.enter_context(postgres())
        show(measure(url, stack.enter_context(module("bench.stub")), depths))


if __name__ == "__main__":
    main()
