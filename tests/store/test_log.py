"""The message log on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from relaypost_server.core.message import Channel, MessageState
from relaypost_server.core.ports import LogUnavailableError, MessageQuery
from relaypost_server.core.record import MessageRecord
from relaypost_server.store import migrations, writer
from relaypost_server.store.database import PostgresLog
from relaypost_server.telemetry.metrics import Metrics
from tests.databases import over_tcp, socket_of
from tests.fakes.proxy import Proxy, proxy
from tests.store.records import START, record


@pytest.fixture
async def log(database: str) -> AsyncIterator[PostgresLog]:
    started = PostgresLog(database, auto_migrate=True, metrics=Metrics())
    await started.start()
    yield started
    await started.stop()


async def available(log: PostgresLog) -> None:
    async with asyncio.timeout(10):
        while not (log.health().available and log.health().waiting == 0):
            await asyncio.sleep(0.02)


async def test_a_record_comes_back_as_it_was(log: PostgresLog) -> None:
    made = record()
    assert await log.append(made)
    assert await log.get(made.id) == made


async def test_a_record_with_little_in_it_comes_back_as_well(log: PostgresLog) -> None:
    made = record(cost=None, tags={}, metadata={}, attempts=(), provider="", provider_message_id="")
    assert await log.append(made)
    assert await log.get(made.id) == made


async def test_an_unknown_id_is_none(log: PostgresLog) -> None:
    await log.append(record())
    assert await log.get("00000000-0000-7000-8000-000000000000") is None


async def test_writing_a_record_twice_keeps_one(log: PostgresLog) -> None:
    made = record()
    await log.append(made)
    await log.append(replace(made, sender="other@example.com"))
    assert await log.get(made.id) == made


async def test_many_records_at_once_are_all_kept(log: PostgresLog) -> None:
    made = [record() for _ in range(2500)]
    await asyncio.gather(*(log.append(r) for r in made))
    await available(log)
    found = [await log.get(r.id) for r in made[::100]]
    assert found == made[::100]


async def test_pages_go_backwards_through_everything(log: PostgresLog) -> None:
    made = [record() for _ in range(25)]
    for each in made:
        await log.append(each)
    seen: list[MessageRecord] = []
    before = None
    while page := await log.list(MessageQuery(page_size=10, before=before)):
        seen += page
        before = page[-1].id
    assert [r.id for r in seen] == [r.id for r in reversed(made)]
    assert seen == made[::-1]


async def test_each_filter_lets_through_what_it_should(log: PostgresLog) -> None:
    sms = record(channel=Channel.SMS, recipients=("+14155550123",), provider="sns")
    failed = record(state=MessageState.FAILED, provider="")
    later = record(create_time=START + timedelta(days=1))
    for each in (sms, failed, later):
        await log.append(each)

    async def ids(**filters: object) -> list[str]:
        return [r.id for r in await log.list(MessageQuery(**filters))]  # type: ignore[arg-type]

    assert await ids(channel=Channel.SMS) == [sms.id]
    assert await ids(recipient="+14155550123") == [sms.id]
    assert await ids(provider="sns") == [sms.id]
    assert await ids(states=(MessageState.FAILED,)) == [failed.id]
    assert await ids(states=(MessageState.FAILED, MessageState.SENT)) == [later.id, failed.id, sms.id]
    assert await ids(created_from=later.create_time) == [later.id]
    assert await ids(created_before=later.create_time) == [failed.id, sms.id]
    assert await ids(created_from=START + timedelta(days=2)) == []


async def test_one_record_that_cannot_be_written_does_not_take_others_with_it(log: PostgresLog) -> None:
    """PostgreSQL refuses NUL in text; nothing that is validated holds one."""
    good = [record() for _ in range(3)]
    bad = record(sender="nul\x00")
    answers = await asyncio.gather(*(log.append(r) for r in [good[0], bad, *good[1:]]))
    assert answers == [True, False, True, True]
    assert [await log.get(r.id) for r in good] == good
    assert log.health().waiting == 0


@pytest.fixture
async def shaky(bundled_database: str) -> AsyncIterator[tuple[PostgresLog, Proxy]]:
    """A log whose database can be cut off."""
    async with proxy(socket_of(bundled_database)) as between:
        started = PostgresLog(over_tcp(bundled_database, between.port), auto_migrate=True, metrics=Metrics())
        await started.start()
        assert await started.append(record())
        yield started, between
        between.mend()
        between.release()
        await started.stop()


async def test_a_lost_database_delays_no_caller_and_loses_no_record(shaky: tuple[PostgresLog, Proxy]) -> None:
    log, between = shaky
    between.cut()
    began = asyncio.get_running_loop().time()
    made = [record() for _ in range(100)]
    answers = await asyncio.gather(*(log.append(r) for r in made))
    assert not any(answers)
    assert asyncio.get_running_loop().time() - began < 1.0
    assert log.health().waiting == 100
    assert not log.health().available
    with pytest.raises(LogUnavailableError):
        await log.get(made[0].id)
    between.mend()
    await available(log)
    assert [await log.get(r.id) for r in made] == made


async def test_a_slow_database_delays_no_caller(shaky: tuple[PostgresLog, Proxy]) -> None:
    log, between = shaky
    between.hold()
    began = asyncio.get_running_loop().time()
    made = [record() for _ in range(10)]
    assert [await log.append(r) for r in made] == [False] * 10
    assert asyncio.get_running_loop().time() - began < 1.0
    between.release()
    await available(log)
    assert [await log.get(r.id) for r in made] == made


async def test_an_answer_that_is_lost_after_the_commit_makes_no_second_row(
    shaky: tuple[PostgresLog, Proxy], bundled_database: str
) -> None:
    log, between = shaky
    made = record()
    append = asyncio.create_task(log.append(made))
    await asyncio.sleep(0)
    between.cut()
    await append
    between.mend()
    await available(log)
    assert await log.get(made.id) == made


async def test_memory_is_bounded_while_the_database_is_away(
    shaky: tuple[PostgresLog, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, between = shaky
    monkeypatch.setattr(writer, "LARGEST_BACKLOG", 50)
    between.cut()
    await asyncio.gather(*(log.append(record()) for _ in range(200)))
    assert log.health().waiting <= 50


async def test_a_log_starts_without_its_database(bundled_database: str) -> None:
    async with proxy(socket_of(bundled_database)) as between:
        between.cut()
        log = PostgresLog(over_tcp(bundled_database, between.port), auto_migrate=True, metrics=Metrics())
        await log.start()
        made = record()
        assert not await log.append(made)
        between.mend()
        await available(log)
        assert await log.get(made.id) == made
        await log.stop()


async def test_without_leave_to_migrate_the_log_waits_for_the_schema(bundled_database: str) -> None:
    log = PostgresLog(bundled_database, auto_migrate=False, metrics=Metrics())
    await log.start()
    made = record()
    assert not await log.append(made)
    connection = await asyncpg.connect(bundled_database)
    await migrations.migrate(connection)
    await connection.close()
    await available(log)
    assert await log.get(made.id) == made
    await log.stop()


async def test_replicas_that_start_together_migrate_once(database: str) -> None:
    connections = [await asyncpg.connect(database) for _ in range(5)]
    applied = await asyncio.gather(*(migrations.migrate(c) for c in connections))
    assert sorted(len(a) for a in applied) == [0, 0, 0, 0, len(migrations.all_migrations())]
    assert await migrations.pending(connections[0]) == []
    for connection in connections:
        await connection.close()


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [m.number for m in migrations.all_migrations()] == list(range(1, len(migrations.all_migrations()) + 1))
