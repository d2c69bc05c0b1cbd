"""The bundled PostgreSQL, for measurements."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from bench.processes import TICK
from relaypost_server.store.embedded import USER, EmbeddedPostgres


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


@dataclass(frozen=True)
class Cpu:
    """User and system time of a server's processes, in seconds since it began."""

    serving: float
    """Of those that serve a connection now."""
    upkeep: float
    """Of all others: what vacuums, makes checkpoints and writes behind, and connections that have ended."""


def cpu(url: str) -> Cpu:
    """What the server has used."""
    server = asyncio.run(_server(url))
    serving = upkeep = 0.0
    for process in _children(server):
        if _serves(process):
            serving += _used(process)
        else:
            upkeep += _used(process)
    return Cpu(serving, upkeep + _used(server) + _used_by_ended_children(server))


async def _server(url: str) -> int:
    """The process that starts one for each connection."""
    connection = await asyncpg.connect(url)
    try:
        return int(_stat(await connection.fetchval("SELECT pg_backend_pid()"))[1])
    finally:
        await connection.close()


def _children(server: int) -> list[int]:
    found = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdecimal()]
    return [process for process in found if int(_stat(process)[1]) == server]


def _serves(process: int) -> bool:
    """PostgreSQL writes into the title of a process whose connection it serves: the user comes first."""
    try:
        title = Path(f"/proc/{process}/cmdline").read_text()
    except OSError:  # It has just ended.
        return False
    return title.startswith(f"postgres: {USER} ")


def _used(process: int) -> float:
    return TICK * sum(map(int, _stat(process)[11:13]))


def _used_by_ended_children(process: int) -> float:
    return TICK * sum(map(int, _stat(process)[13:15]))


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
