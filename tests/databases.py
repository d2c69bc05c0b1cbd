"""Fresh databases on a real PostgreSQL: the bundled one and, where there is one, another."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from relaypost_server.store.embedded import EmbeddedPostgres
from tests.peers import open_up
from tests.transitions import guard

OUTSIDE = os.environ.get("RELAYPOST_TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/postgres")


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the bundled server."""
    server = EmbeddedPostgres(open_up(tmp_path_factory.mktemp("postgres")))
    asyncio.run(server.start())
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


@asynccontextmanager
async def fresh_database(server: str) -> AsyncIterator[str]:
    """A new database on the server, dropped at the end."""
    name = f"relaypost_test_{uuid.uuid4().hex}"
    await _execute(server, f"CREATE DATABASE {name}")
    try:
        url = urlsplit(server)._replace(path=f"/{name}").geturl()
        await _execute(url, guard())
        yield url
    finally:
        await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["bundled", "outside"])
def server_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
async def database(server_url: str) -> AsyncIterator[str]:
    async with fresh_database(server_url) as url:
        yield url


@pytest.fixture
async def bundled_database(bundled: str) -> AsyncIterator[str]:
    async with fresh_database(bundled) as url:
        yield url


def socket_of(url: str) -> str:
    """The path of the Unix socket behind a URL of the bundled server."""
    return str(Path(parse_qs(urlsplit(url).query)["host"][0]) / ".s.PGSQL.5432")


def over_tcp(url: str, port: int) -> str:
    """The same database through a proxy on this port."""
    return f"postgresql://relaypost@127.0.0.1:{port}{urlsplit(url).path}"


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
