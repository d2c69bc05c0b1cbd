"""What a stream of messages costs, and whether it needs more memory the longer it is.

`python -m bench.bulk 1000 10000 100000`; a million takes some minutes.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from relaypost import Client, bulk_email
from relaypost.v1 import queue_service_pb2 as pb
from rich.console import Console
from rich.table import Table

from bench.processes import Server, gateway

WARM = 20_000
"""Messages after which a process has all the memory that it needs."""
NO_WORKER = {"RELAYPOST_QUEUE_WORK_IN_SERVE": "false", "OTEL_TRACES_EXPORTER": "none"}


@dataclass(frozen=True)
class Row:
    """One stream."""

    messages: int
    seconds: float
    cpu: float
    """Seconds of the server's CPU time."""
    server: float
    """MiB, as are those of the client."""
    client: float


def measure(sizes: list[int]) -> list[Row]:
    """Streams of these sizes, one after the other, into one gateway and out of one client."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relaypost-bench-")))
        os.chmod(home, 0o755)  # noqa: PTH101 - PostgreSQL may run as nobody.
        server = stack.enter_context(gateway({**NO_WORKER, "RELAYPOST_DATA_DIR": str(home)}))
        client = stack.enter_context(Client(f"127.0.0.1:{server.port}"))
        client.send_bulk("warm", _messages(WARM))
        return [_stream(server, client, size) for size in sizes]


def _stream(server: Server, client: Client, size: int) -> Row:
    began, before = time.monotonic(), server.cpu_seconds()
    answer = client.send_bulk(f"stream-{size}", _messages(size))
    if answer.batch.size != size:
        raise RuntimeError(f"{answer.batch.size} of {size} messages were stored")
    return Row(
        messages=size,
        seconds=time.monotonic() - began,
        cpu=server.cpu_seconds() - before,
        server=_memory(server.process.pid),
        client=_memory(os.getpid()),
    )


def _messages(count: int) -> Iterator[pb.BulkMessage]:
    return (
        bulk_email(to=f"reader{n}@example.com", sender="news@example.com", subject="News", text=f"Dear reader {n}")
        for n in range(count)
    )


def _memory(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def show(rows: list[Row]) -> None:
    table = Table(title="SendBulk into the bundled PostgreSQL")
    for heading in ("messages", "a second", "a CPU-second of the server", "server, MiB", "client, MiB"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            f"{row.messages:,}",
            f"{row.messages / row.seconds:,.0f}",
            f"{row.messages / row.cpu:,.0f}" if row.cpu else "",
            f"{row.server:.0f}",
            f"{row.client:.0f}",
        )
    Console(width=120).print(table)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("sizes", nargs="*", type=int, default=[1_000, 10_000, 100_000])
    show(measure(options.parse_args().sizes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
