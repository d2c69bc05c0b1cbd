"""Fresh databases on a real PostgreSQL: the bundled one and, where there is one, another.

A database with the gateway's tables is a copy of one that has been migrated once in each run.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from relaypost_server.store import migrations
from relaypost_server.store.embedded import EmbeddedPostgres
from tests.peers import open_up
from tests.transitions import guard

OUTSIDE = os.environ.get("RELAYPOST_TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
MIGRATED = f"relaypost_test_migrated_{uuid.uuid4().hex}"
"""The database that others are copies of; no other run uses this name."""
NO_POWER_CUT = ("fsync = off", "full_page_writes = off")
"""A test may kill the server, and what the server has written stays. Only a power cut would lose it."""


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the bundled server."""
    server = EmbeddedPostgres(open_up(tmp_path_factory.mktemp("postgres")))
    asyncio.run(server.start())
    asyncio.run(_execute(server.url, *(f"ALTER SYSTEM SET {s}" for s in NO_POWER_CUT), "SELECT pg_reload_conf()"))
    yield server.url
    asyncio.run(server.stop())


@pytest.fixture(scope="session")
def outside() -> str:
    """The URL of a server that runs anyway."""

    async def look() -> None:
        await (await asyncpg.connect(OUTSIDE, timeout=2)).close()

    try:
        asyncio.run(look())
    except (OSError, asyncpg.PostgresError):
        pytest.skip("no PostgreSQL runs outside; RELAYPOST_TEST_DATABASE_URL may name one")
    return OUTSIDE


@pytest.fixture(scope="session")
def copy_of_bundled(bundled: str) -> str:
    """What creates a copy of the migrated database there; copying its files is cheap without fsync."""
    asyncio.run(_migrated(bundled))
    return f"TEMPLATE {MIGRATED} STRATEGY FILE_COPY"


@pytest.fixture(scope="session")
def copy_of_outside(outside: str) -> Iterator[str]:
    asyncio.run(_migrated(outside))
    yield f"TEMPLATE {MIGRATED}"
    asyncio.run(_execute(outside, f"DROP DATABASE {MIGRATED}"))


@asynccontextmanager
async def fresh_database(server: str, how: str = "") -> AsyncIterator[str]:
    """A new database on the server, dropped at the end; empty, unless `how` says otherwise."""
    name = f"relaypost_test_{uuid.uuid4().hex}"
    await _execute(server, f"CREATE DATABASE {name} {how}")
    try:
        url = _on(server, name)
        if not how:
            await _execute(url, guard())
        yield url
    finally:
        await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["bundled", "outside"])
def server(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def server_url(server: str, request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(server)
    return url


@pytest.fixture
def copy(server: str, request: pytest.FixtureRequest) -> str:
    clause: str = request.getfixturevalue(f"copy_of_{server}")
    return clause


@pytest.fixture
async def database(server_url: str, copy: str) -> AsyncIterator[str]:
    """With the gateway's tables, on each server in turn."""
    async with fresh_database(server_url, copy) as url:
        yield url


@pytest.fixture
async def empty_database(server_url: str) -> AsyncIterator[str]:
    async with fresh_database(server_url) as url:
        yield url


@pytest.fixture
async def bundled_database(bundled: str, copy_of_bundled: str) -> AsyncIterator[str]:
    """With the gateway's tables, on the bundled server."""
    async with fresh_database(bundled, copy_of_bundled) as url:
        yield url


@pytest.fixture
async def empty_bundled_database(bundled: str) -> AsyncIterator[str]:
    async with fresh_database(bundled) as url:
        yield url


def socket_of(url: str) -> str:
    """The path of the Unix socket behind a URL of the bundled server."""
    return str(Path(parse_qs(urlsplit(url).query)["host"][0]) / ".s.PGSQL.5432")


def over_tcp(url: str, port: int) -> str:
    """The same database through a proxy on this port."""
    return f"postgresql://relaypost@127.0.0.1:{port}{urlsplit(url).path}"


def _on(server: str, name: str) -> str:
    """The URL of a database on the server."""
    return urlsplit(server)._replace(path=f"/{name}").geturl()


async def _migrated(server: str) -> None:
    """Creates the database that others are copies of."""
    await _execute(server, f"CREATE DATABASE {MIGRATED}")
    url = _on(server, MIGRATED)
    await _execute(url, guard())
    connection = await asyncpg.connect(url)
    await migrations.migrate(connection)
    await connection.close()


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
