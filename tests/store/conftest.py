"""Fixtures of the store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relaypost_server.store.messages import PostgresLog
from tests.databases import over_tcp, socket_of
from tests.fakes.proxy import Proxy, proxy
from tests.store.databases import opened
from tests.store.records import record


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where a spool may be made."""
    return tmp_path / "spool"


@pytest.fixture
async def shaky(bundled_database: str, tmp_path: Path) -> AsyncIterator[tuple[PostgresLog, Proxy]]:
    """A log whose database can be cut off."""
    async with (
        proxy(socket_of(bundled_database)) as between,
        opened(over_tcp(bundled_database, between.port), tmp_path) as database,
    ):
        log = PostgresLog(database)
        assert await log.append(record())
        yield log, between
        between.mend()
        between.release()
