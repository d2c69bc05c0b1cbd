"""Batches while reports leave no connection to count them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relaypost_server.core.message import MessageState
from relaypost_server.core.ports import ReportsBusyError
from relaypost_server.core.queue import Lane
from relaypost_server.flow.bulk import Batches
from relaypost_server.flow.clock import Clock
from relaypost_server.store.database import Database
from relaypost_server.store.hand_over import HandOverWithin
from relaypost_server.store.message_batches import PostgresBatches
from relaypost_server.store.pools import DatabaseTerms, PoolTerms
from relaypost_server.store.queue import PostgresQueue
from relaypost_server.telemetry.metrics import Metrics
from tests.store.databases import opened
from tests.store.queues import LocalEngine, letter

ONE_REPORT = DatabaseTerms(reports=PoolTerms(connections=1, seconds=5, queue=0))


@pytest.fixture
async def database(bundled_database: str, tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(bundled_database, tmp_path, terms=ONE_REPORT) as database:
        yield database


def batches_in(database: Database) -> Batches:
    queue = PostgresQueue(database, lease=60.0, hand_over=HandOverWithin(database, LocalEngine([])))
    store = PostgresBatches(database)
    return Batches(store, queue, on_stored=lambda: None, metrics=Metrics(), clock=Clock())


async def test_a_batch_is_stored_while_reports_leave_no_room_to_count_it(database: Database) -> None:
    batches = batches_in(database)
    async with database.reports.session():
        intake = await batches.open(caller="shop", request_id="news", fingerprint="f", lane=Lane.BULK)
        await intake.add(letter(name=intake.name(1)), 1)
        batch = await intake.close()
        assert (batch.closed, batch.stored) == (True, 1)
        assert await batches.count(batch) is None
        with pytest.raises(ReportsBusyError):
            await batches.get("shop", batch_id=batch.id)
    progress = await batches.count(batch)
    assert progress is not None
    assert progress.batch == batch


async def test_a_watch_goes_on_while_reports_leave_no_room_for_a_look(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relaypost_server.flow.bulk.WATCH_SECONDS", 0.01)
    batches = batches_in(database)
    intake = await batches.open(caller="shop", request_id="news", fingerprint="f", lane=Lane.BULK)
    await intake.add(letter(name=intake.name(1), batch_id=intake.batch.id), 1)
    await intake.close()
    watch = batches.watch("shop", intake.batch.id)
    first = await anext(watch)
    assert first.states == {MessageState.QUEUED: 1}
    async with database.reports.session():
        changed = asyncio.create_task(anext(watch))
        await database.fetch("advance_batch", intake.batch.id, 7, True)
        await asyncio.sleep(0.1)  # Several looks.
        assert not changed.done()
    assert (await changed).batch.stored == 7
