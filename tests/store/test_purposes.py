"""Each purpose has connections of its own: work in the background never waits for those of callers."""

import asyncio
from pathlib import Path

from relaypost_server.flow.background import BackgroundTasks
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.requests import Recovery
from relaypost_server.store.database import Database
from relaypost_server.store.hand_over import HandOverWithin
from relaypost_server.store.pools import DatabaseTerms, PoolTerms
from relaypost_server.store.queue import PostgresQueue
from relaypost_server.store.requests import PostgresRequests
from relaypost_server.store.spool import Spool
from relaypost_server.telemetry.metrics import Metrics
from tests.store.databases import opened
from tests.store.queues import SHORT, LocalEngine, letter, pointer_to


async def test_recovery_takes_no_connection_that_callers_need(bundled_database: str, tmp_path: Path) -> None:
    """After a crash there may be hundreds of messages to give back; one-time passwords must not wait behind them."""
    spool = Spool.open(tmp_path / "spool", max_bytes=1_000_000)
    terms = DatabaseTerms(requests=PoolTerms(connections=1, seconds=5))
    database = Database(
        bundled_database, spool, auto_migrate=True, metrics=Metrics(), tasks=BackgroundTasks(), terms=terms
    )
    await database.start()
    queue = PostgresQueue(database, lease=SHORT, hand_over=HandOverWithin(database, LocalEngine([])))
    recovery = Recovery(PostgresRequests(database, lease=SHORT), retention=3600.0, clock=Clock())
    message = letter()
    await queue.enqueue([message])
    assert await queue.claim(pointer_to(message))
    async with database.transaction(), asyncio.timeout(30):  # It has the only connection.
        while not await recovery.sweep():
            await asyncio.sleep(0.05)
    assert await queue.claim(pointer_to(message))
    await database.stop()


async def test_no_statement_is_compiled_first(bundled_database: str, tmp_path: Path) -> None:
    """PostgreSQL compiles what it thinks costly, for half a second; a take of jobs, which may not sort, looks so."""
    async with opened(bundled_database, tmp_path) as database:
        for pool in (database.requests, database.background, database.reports):
            async with pool.session() as session:
                assert [row["jit"] for row in await session.fetch_text("SHOW jit")] == ["off"]
        connection = await database.connect()
        assert await connection.fetchval("SHOW jit") == "off"
        await connection.close()
