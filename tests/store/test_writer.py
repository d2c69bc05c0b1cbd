"""The batch writer: one row for each record, whoever waits for it, and no document that stops the others."""

import asyncio
import errno
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.record import MessageRecord
from relaypost_server.store import batch_statement, overflow, rows, writer as batch_writer
from relaypost_server.store.messages import PostgresLog
from relaypost_server.store.spool import Spool, SpoolError
from tests.databases import over_tcp, socket_of
from tests.fakes.proxy import Proxy, proxy
from tests.store.databases import caught_up, opened
from tests.store.records import record


class SlowDisk:
    """Holds each append to a spool until it is released."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Event()
        self.released = threading.Event()
        real = Spool.append

        def append(spool: Spool, records: Sequence[object]) -> int:
            self.reached.set()
            assert self.released.wait(30)
            return real(spool, records)  # type: ignore[arg-type]

        patch.setattr(Spool, "append", append)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    return SlowDisk(monkeypatch)


async def reached(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 30)


async def all_of(log: PostgresLog, made: Sequence[MessageRecord]) -> list[MessageRecord | None]:
    return [await log.get(r.id) for r in made]


async def test_a_record_that_is_late_twice_is_spooled_once(shaky: tuple[PostgresLog, Proxy], disk: SlowDisk) -> None:
    """The database is slow, the disk too, and then the connection is lost."""
    log, between = shaky
    between.hold()
    made = [record() for _ in range(3)]
    appends = asyncio.gather(*(log.append(r) for r in made))
    await reached(disk.reached)
    between.cut()
    async with asyncio.timeout(10):
        while log.health().available:
            await asyncio.sleep(0.01)
    disk.released.set()
    assert await appends == [True] * 3
    assert log.health().waiting == 3
    between.release()
    between.mend()
    await caught_up(log)
    assert await all_of(log, made) == made


async def test_a_record_is_written_though_its_caller_is_cancelled(shaky: tuple[PostgresLog, Proxy]) -> None:
    log, between = shaky
    between.hold()
    first = asyncio.ensure_future(log.append(record()))
    await asyncio.sleep(0)
    made = [record() for _ in range(2)]
    waiting = [asyncio.ensure_future(log.append(r)) for r in made]
    for each in waiting:
        each.cancel()
    between.release()
    await first
    await caught_up(log)
    assert await all_of(log, made) == made


async def test_a_record_is_spooled_though_its_caller_is_cancelled(shaky: tuple[PostgresLog, Proxy]) -> None:
    log, between = shaky
    between.hold()
    made = [record() for _ in range(2)]
    for each in made:
        asyncio.ensure_future(log.append(each)).cancel()
    between.cut()
    assert await log.append(record())
    between.release()
    between.mend()
    await caught_up(log)
    assert await all_of(log, made) == made


async def test_two_documents_about_one_message_do_not_meet_in_one_statement(
    shaky: tuple[PostgresLog, Proxy],
) -> None:
    log, between = shaky
    between.hold()
    first = asyncio.ensure_future(log.append(record()))
    await asyncio.sleep(0)
    made, other = record(), record()
    appends = asyncio.gather(*(log.append(r) for r in (made, other, made)))
    between.release()
    assert await appends == [True] * 3
    await first
    await caught_up(log)
    assert await all_of(log, [made, other]) == [made, other]


async def test_a_document_that_a_trigger_refuses_is_set_aside_and_the_log_goes_on(
    shaky: tuple[PostgresLog, Proxy], bundled_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of a class that no list of classes foresaw."""
    monkeypatch.setattr(batch_writer, "ANSWER_SECONDS", 30.0)
    log, _ = shaky
    await execute(bundled_database, _TRIGGER)
    bad, good = record(sender="poison"), [record() for _ in range(3)]
    assert await asyncio.gather(*(log.append(r) for r in (good[0], bad, *good[1:]))) == [True, False, True, True]
    await caught_up(log)
    assert await all_of(log, good) == good


async def test_what_the_database_refuses_of_every_document_is_kept(
    shaky: tuple[PostgresLog, Proxy], bundled_database: str
) -> None:
    """A missing column is no document's fault: nothing is set aside."""
    log, _ = shaky
    await execute(bundled_database, "ALTER TABLE relaypost.messages RENAME COLUMN sender TO elsewhere")
    made = [record() for _ in range(5)]
    assert await asyncio.gather(*(log.append(r) for r in made)) == [True] * 5
    assert log.health().waiting == 5
    await execute(bundled_database, "ALTER TABLE relaypost.messages RENAME COLUMN elsewhere TO sender")
    await caught_up(log)
    assert await all_of(log, made) == made


async def test_a_claim_that_the_database_refuses_is_an_error_and_not_a_claim_of_another(
    shaky: tuple[PostgresLog, Proxy], bundled_database: str
) -> None:
    log, _ = shaky
    await execute(bundled_database, _TRIGGER)
    writer = log._database.writer
    bad = record(sender="poison")
    with pytest.raises(LogUnavailableError):
        await writer.write(bad.id, rows.settled(bad, fence=1, kept=True).replace(b'"settle"', b'"insert"'))
    assert await log.append(record())


async def test_what_waits_at_the_end_goes_to_the_disk_even_when_its_caller_is_cancelled(
    bundled_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_writer, "ANSWER_SECONDS", 60.0)
    made = [record() for _ in range(3)]
    async with proxy(socket_of(bundled_database)) as between:
        async with opened(over_tcp(bundled_database, between.port), tmp_path) as database:
            assert await PostgresLog(database).append(record())
            between.hold()
            appends = [asyncio.ensure_future(PostgresLog(database).append(r)) for r in made]
            appends[1].cancel()
            await asyncio.sleep(0)
        assert [await appends[0], await appends[2]] == [True, True]
        between.release()
    async with opened(bundled_database, tmp_path) as database:
        log = PostgresLog(database)
        await caught_up(log)
        assert await all_of(log, made) == made


@pytest.mark.parametrize("error", [IndexError(), asyncio.CancelledError(), asyncpg.InternalClientError()])
async def test_the_writer_goes_on_whatever_a_round_raises(
    shaky: tuple[PostgresLog, Proxy], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    log, _ = shaky
    real, left = batch_statement.write, iter([True])

    async def write(*arguments: Any) -> Any:
        if next(left, False):
            raise error
        return await real(*arguments)

    monkeypatch.setattr("relaypost_server.store.writer.write", write)
    made = record()
    assert await log.append(made)
    await caught_up(log)
    assert await log.get(made.id) == made


async def test_a_disk_that_cannot_be_read_for_a_moment_stops_nothing(
    shaky: tuple[PostgresLog, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, between = shaky
    monkeypatch.setattr(Spool, "peek", failing(Spool.peek, times=1))
    between.cut()
    assert await log.append(record())
    between.mend()
    await caught_up(log)


async def test_a_record_that_the_disk_refuses_for_a_while_reaches_it_later(
    shaky: tuple[PostgresLog, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it, and it is not lost."""
    monkeypatch.setattr(overflow, "REST_SECONDS", 0.05)
    monkeypatch.setattr(Spool, "append", failing(Spool.append, times=3))
    log, between = shaky
    between.cut()
    made = [record() for _ in range(3)]
    assert not await log.append(made[0])
    async with asyncio.timeout(30):
        while not await log.append(made[1]):
            made[1] = record()
    between.mend()
    await caught_up(log)
    assert await all_of(log, made[:2]) == made[:2]


async def test_a_disk_that_hangs_holds_up_no_sender_and_loses_nothing(
    shaky: tuple[PostgresLog, Proxy], disk: SlowDisk
) -> None:
    log, between = shaky
    between.cut()
    made = [record() for _ in range(3)]
    async with asyncio.timeout(20):
        assert [await log.append(r) for r in made] == [False] * 3
    assert log.health().waiting == 3
    disk.released.set()
    between.mend()
    await caught_up(log)
    assert await all_of(log, made) == made


async def test_records_that_the_disk_always_refuses_go_to_the_database_once_it_is_back(
    shaky: tuple[PostgresLog, Proxy], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(overflow, "REST_SECONDS", 0.05)
    monkeypatch.setattr(Spool, "append", failing(Spool.append, times=1_000_000))
    log, between = shaky
    between.cut()
    made = [record() for _ in range(5)]
    assert [await log.append(r) for r in made] == [False] * len(made)
    assert log.health().waiting == len(made)
    between.mend()
    await caught_up(log)
    assert await all_of(log, made) == made


async def test_only_records_beyond_the_memory_are_dropped_and_each_is_counted(
    shaky: tuple[PostgresLog, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overflow, "MOST_PENDING", 3)
    monkeypatch.setattr(overflow, "REST_SECONDS", 0.05)
    monkeypatch.setattr(Spool, "append", failing(Spool.append, times=1_000_000))
    log, between = shaky
    dropped = 0

    def count(lost: int) -> None:
        nonlocal dropped
        dropped += lost

    monkeypatch.setattr(log._database.writer._overflow, "_on_drop", count)
    between.cut()
    made = [record() for _ in range(5)]
    for each in made:
        assert not await log.append(each)
    assert dropped == 2
    between.mend()
    await caught_up(log)
    assert await all_of(log, made[:3]) == made[:3]


async def test_what_comes_during_the_last_write_of_a_slow_disk_is_written_too(
    bundled_database: str, tmp_path: Path, disk: SlowDisk
) -> None:
    made = [record() for _ in range(2)]
    async with proxy(socket_of(bundled_database)) as between:
        between.cut()
        async with opened(over_tcp(bundled_database, between.port), tmp_path) as database:
            first = asyncio.ensure_future(PostgresLog(database).append(made[0]))
            await reached(disk.reached)
            stopping = asyncio.create_task(database.stop())
            await asyncio.sleep(1.0)  # Longer than STOP_SECONDS: the writer has ended.
            second = asyncio.ensure_future(PostgresLog(database).append(made[1]))
            await asyncio.sleep(0)
            disk.released.set()
            await stopping
            await asyncio.gather(first, second)
    async with opened(bundled_database, tmp_path) as database:
        log = PostgresLog(database)
        await caught_up(log)
        assert await all_of(log, made) == made


def failing(method: Callable[..., Any], *, times: int) -> Callable[..., Any]:
    """Finds the disk full so many times."""
    left = iter(range(times))

    def call(*arguments: Any) -> Any:
        if next(left, None) is not None:
            raise SpoolError(errno.ENOSPC, "database or disk is full")
        return method(*arguments)

    return call


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


_TRIGGER = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.sender = 'poison' THEN
        RAISE EXCEPTION 'no' USING ERRCODE = 'XX001';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER refuse BEFORE INSERT ON relaypost.messages FOR EACH ROW EXECUTE FUNCTION refuse();
"""
