"""A bundled PostgreSQL of a run's own, which may be stopped, and what the log in it says."""

import asyncio
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import orjson

from relaypost_server.store.embedded import EmbeddedPostgres
from tests.databases import over_tcp, socket_of
from tests.faults.history import Logged
from tests.peers import ROOT


class Database:
    """The server; each start listens on a socket of its own.

    A process of its own starts it: to fork is not safe in one that uses gRPC.
    That process ends the server when this one is gone.
    """

    def __init__(self, home: Path) -> None:
        self.url = ""
        self._home = home
        self._keeper: asyncio.subprocess.Process | None = None

    @property
    def socket(self) -> str:
        return socket_of(self.url)

    def through(self, port: int) -> str:
        """Its URL for those who come through a proxy."""
        return over_tcp(self.url, port)

    async def start(self) -> None:
        pipe = asyncio.subprocess.PIPE
        self._keeper = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.faults.database", str(self._home), stdin=pipe, stdout=pipe, cwd=ROOT
        )
        assert self._keeper.stdout is not None
        while not self.url.startswith("postgresql:"):
            line = await self._keeper.stdout.readline()
            if not line:
                raise RuntimeError("the database did not start")
            self.url = line.decode().strip()

    async def stop(self) -> None:
        self.url = ""
        if self._keeper is not None and self._keeper.returncode is None:
            await self._keeper.communicate(b"")


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[Database]:
    database = Database(home)
    await database.start()
    try:
        yield database
    finally:
        await database.stop()


async def _keep(home: Path) -> None:
    """Runs the server until the end of standard input."""
    server = EmbeddedPostgres(home)
    await server.start()
    print(server.url, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


async def read_log(url: str) -> list[Logged]:
    """Every message of the log with its attempts."""
    connection = await asyncpg.connect(url)
    try:
        messages = await connection.fetch("SELECT id, state, possible_duplicate, metadata FROM relaypost.messages")
        attempts = await connection.fetch(
            "SELECT message_id, provider, kind FROM relaypost.attempts ORDER BY message_id, number"
        )
    finally:
        await connection.close()
    tried: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in attempts:
        tried[str(row["message_id"])].append((row["provider"], row["kind"]))
    return [
        Logged(
            message_id=str(row["id"]),
            token=orjson.loads(row["metadata"]).get("token", ""),
            state=row["state"],
            possible_duplicate=row["possible_duplicate"],
            attempts=tuple(tried[str(row["id"])]),
        )
        for row in messages
    ]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who use the server.
    asyncio.run(_keep(Path(sys.argv[1])))
