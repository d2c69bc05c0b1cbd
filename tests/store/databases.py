"""The database as the stores see it, opened for a test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from relaypost_server.flow.background import BackgroundTasks
from relaypost_server.store.database import Database
from relaypost_server.store.messages import PostgresLog
from relaypost_server.store.pools import DatabaseTerms
from relaypost_server.store.spool import Spool
from relaypost_server.telemetry.metrics import Metrics

_DEFAULT = DatabaseTerms()


@asynccontextmanager
async def opened(
    url: str,
    home: Path,
    *,
    spool_bytes: int = 64 * 1024 * 1024,
    auto_migrate: bool = True,
    terms: DatabaseTerms = _DEFAULT,
) -> AsyncIterator[Database]:
    """`home` holds the spool."""
    spool = Spool.open(home / "spool", max_bytes=spool_bytes)
    tasks = BackgroundTasks()
    database = Database(url, spool, auto_migrate=auto_migrate, metrics=Metrics(), tasks=tasks, terms=terms)
    await database.start()
    try:
        yield database
    finally:
        await database.stop()


async def caught_up(log: PostgresLog) -> None:
    """Waits until the database is there and has everything."""
    async with asyncio.timeout(15):
        while not (log.health().available and log.health().waiting == 0):
            await asyncio.sleep(0.02)
