"""The bundled PostgreSQL, for measurements."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from bench.processes import TICK
from relaypost_server.store.embedded import EmbeddedPostgres


def new_database(server: str, name: str) -> str:
    """A new database on the server."""

    async def create() -> None:
        connection = await asyncpg.connect(server)
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()

    asyncio.run(create())
    return urlsplit(server)._replace(path=f"/{name}").geturl()


@contextmanager
def postgres() -> Iterator[str]:
    """The bundled server on a directory that is thrown away; its URL."""
    with tempfile.TemporaryDirectory(prefix="relaypost-bench-") as home:
        os.chmod(home, 0o755)  # noqa: PTH101 - PostgreSQL may run as nobody.
        server = EmbeddedPostgres(Path(home))
        asyncio.run(server.start())
        try:
            yield server.url
        finally:
            asyncio.run(server.stop())


def cpu_seconds(url: str) -> float:
    """User and system time of all of the server's processes, those that have ended included."""
    server = asyncio.run(_server(url))
    children = (_stat(int(p.name)) for p in Path("/proc").iterdir() if p.name.isdecimal())
    own = sum(int(ticks) for ticks in _stat(server)[11:15])
    return TICK * (own + sum(int(stat[11]) + int(stat[12]) for stat in children if int(stat[1]) == server))


async def _server(url: str) -> int:
    """The process that starts one for each connection."""
    connection = await asyncpg.connect(url)
    try:
        return int(_stat(await connection.fetchval("SELECT pg_backend_pid()"))[1])
    finally:
        await connection.close()


def _stat(pid: int) -> list[str]:
    """What proc(5) tells of a process from its state on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # It has just ended.
        return ["0"] * 20


def count(url: str, query: str) -> int:
    """What a query counts."""

    async def ask() -> int:
        connection = await asyncpg.connect(url)
        try:
            return int(await connection.fetchval(query))
        finally:
            await connection.close()

    return asyncio.run(ask())
