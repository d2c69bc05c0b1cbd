"""Messages that are due are handed over to an engine that is slow, that does not say what it took, or that dies."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from relaypost_server.core.message import Address, Email, Guarantee
from relaypost_server.core.queue import Again, Lane, Pointer, Queued, Schedule
from relaypost_server.core.queue_ports import Queue, QueueUnavailableError, Step
from relaypost_server.flow import relay as relay_module
from relaypost_server.flow.queueing import queued
from relaypost_server.flow.relay import AT_ONCE, Relay
from relaypost_server.store import hand_over as hand_over_module, pools
from relaypost_server.store.hand_over import URGENT_FIRST, HandOverByLease, HandOverWithin
from relaypost_server.store.queue import PostgresQueue
from relaypost_server.store.sql import QUERIES
from tests.queues.engines import Rabbit, rabbit
from tests.store.databases import opened

EMAIL = Email(sender=Address(email="a@example.com"), to=(Address(email="b@example.com"),), subject="s", text="t")
COUNT = 1000
MANY = """
INSERT INTO relaypost.queue (message_id, lane, channel, content, due_time, expire_time, handed_time)
SELECT
    gen_random_uuid(), CASE WHEN n % 50 = 0 THEN 'otp' ELSE 'bulk' END, 'email', '',
    now() + make_interval(hours => CASE WHEN n % 2 = 0 THEN 24 ELSE -1 END), now() + interval '48 hours',
    CASE WHEN n % 2 = 1 THEN now() END
FROM generate_series(1, 50000) AS n
"""
"""Half of them are scheduled for tomorrow, half are with the engine."""
HANDED = "SELECT count(*) FROM relaypost.queue WHERE handed_time IS NOT NULL"
Put = Callable[[Sequence[Pointer]], Awaitable[None]]


@pytest.fixture
async def engine(rabbit_server: str) -> AsyncIterator[Rabbit]:
    async with rabbit(rabbit_server) as opened_engine:
        yield opened_engine


@asynccontextmanager
async def queue_of(url: str, home: Path, put: Put) -> AsyncIterator[PostgresQueue]:
    """One gateway's view of the queue."""
    async with opened(url, home) as database:
        yield PostgresQueue(database, lease=60.0, hand_over=HandOverByLease(database, put))


@asynccontextmanager
async def relaying(queue: PostgresQueue) -> AsyncIterator[None]:
    relay = Relay(queue, dead_retention=3600.0)
    relay.start()
    try:
        yield
    finally:
        await relay.stop()


@dataclass
class Slow:
    """RabbitMQ behind a proxy that keeps its answers back for `seconds` at each batch; None: until it is released."""

    engine: Rabbit
    holder: Queue
    seconds: float | None
    batches: list[Sequence[Pointer]] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    """Which of the batches were not confirmed."""

    @property
    def pointers(self) -> list[Pointer]:
        return [pointer for batch in self.batches for pointer in batch]

    async def put(self, pointers: Sequence[Pointer]) -> None:
        number = len(self.batches)
        self.batches.append(pointers)
        if self.seconds is not None:
            self.engine.ways[0].swallow_answers()
            asyncio.get_running_loop().call_later(self.seconds, self.engine.ways[0].release)
        try:
            await self.holder.put(pointers)
        except QueueUnavailableError:
            self.failed.append(number)
            raise


@dataclass
class Taken:
    """An engine of either kind that takes what it gets."""

    batches: list[Sequence[Pointer]] = field(default_factory=list)

    async def put(self, pointers: Sequence[Pointer]) -> None:
        self.batches.append(pointers)

    async def store(self, _: Any, pointers: Sequence[Pointer]) -> None:
        self.batches.append(pointers)


def letters(count: int, lane: Lane = Lane.BULK) -> list[Queued]:
    now = datetime.now(UTC)
    schedule = Schedule(due=now, expires=now + timedelta(hours=1), lane=lane)
    return [
        queued(
            EMAIL,
            schedule=schedule,
            guarantee=Guarantee.AT_LEAST_ONCE,
            metadata={},
            caller="shop",
            method="EnqueueEmail",
            request_id="",
            now=now,
        )
        for _ in range(count)
    ]


async def handed(url: str, count: int, seconds: float = 60.0) -> None:
    """Waits until the engine is known to have so many pointers."""
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(seconds):
            while await connection.fetchval(HANDED) < count:
                await asyncio.sleep(0.05)
    finally:
        await connection.close()


async def test_an_engine_slower_than_a_transaction_may_be_gets_each_pointer_once(
    bundled_database: str, tmp_path: Path, engine: Rabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody who enqueues waits for it."""
    monkeypatch.setattr(pools, "IDLE_SECONDS", 0.3)
    slow = Slow(engine, await engine.holder(), seconds=1.3)
    async with queue_of(bundled_database, tmp_path, slow.put) as queue:
        messages = letters(COUNT)
        for at in range(0, COUNT, 500):
            await queue.enqueue(messages[at : at + 500])
        assert not slow.batches
        async with relaying(queue):
            await handed(bundled_database, COUNT)
    await slow.holder.close()
    assert sorted(p.message_id for p in slow.pointers) == sorted(m.record.id for m in messages)
    assert max(len(batch) for batch in slow.batches) <= AT_ONCE


async def test_an_engine_that_never_says_what_it_took_gets_no_batch_twice(
    bundled_database: str, tmp_path: Path, engine: Rabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first failure one message is tried at a time, and the whole rest once that one is confirmed."""
    monkeypatch.setattr(relay_module, "SWEEP_SECONDS", 0.05)
    silent = Slow(engine, await engine.holder(patience=1.0), seconds=None)
    engine.ways[0].swallow_answers()
    async with queue_of(bundled_database, tmp_path, silent.put) as queue:
        await queue.enqueue(letters(COUNT))
        async with relaying(queue):
            async with asyncio.timeout(60):
                while len(silent.batches) < 5:
                    await asyncio.sleep(0.05)
            unconfirmed = [len(batch) for batch in silent.batches]
            engine.ways[0].release()
            await handed(bundled_database, COUNT)
    await silent.holder.close()
    assert unconfirmed[:5] == [AT_ONCE, 1, 1, 1, 1]
    assert len(silent.pointers) == COUNT + sum(len(silent.batches[number]) for number in silent.failed)
    assert all(len(silent.batches[number + 1]) == 1 for number in silent.failed)
    assert len(set(silent.pointers)) == COUNT


async def test_what_a_gateway_that_died_was_handing_over_waits_for_its_lease(
    bundled_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand_over_module, "LEASE_SECONDS", 3.0)
    reached = asyncio.Event()

    async def die(_: Sequence[Pointer]) -> None:
        reached.set()
        await asyncio.Event().wait()

    got: list[Pointer] = []

    async def take(pointers: Sequence[Pointer]) -> None:
        got.extend(pointers)

    async with (
        queue_of(bundled_database, tmp_path / "1", die) as one,
        queue_of(bundled_database, tmp_path / "2", take) as two,
    ):
        await one.enqueue(letters(3))
        dying = asyncio.create_task(one.hand_over(10))
        await reached.wait()
        assert await two.hand_over(10) == 0
        async with asyncio.timeout(20):
            while not await two.hand_over(10):
                await asyncio.sleep(0.1)
        assert len(got) == 3
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        assert await two.hand_over(10) == 0, "what another gateway handed over stays handed over"


@pytest.mark.parametrize("error", [QueueUnavailableError("away"), asyncio.CancelledError()])
async def test_what_an_engine_refused_is_free_at_once(
    error: BaseException, bundled_database: str, tmp_path: Path
) -> None:
    async def refuse(_: Sequence[Pointer]) -> None:
        raise error

    async def take(_: Sequence[Pointer]) -> None: ...

    async with (
        queue_of(bundled_database, tmp_path / "1", refuse) as one,
        queue_of(bundled_database, tmp_path / "2", take) as two,
    ):
        await one.enqueue(letters(3))
        with pytest.raises(type(error)):
            await one.hand_over(10)
        assert await two.hand_over(10) == 3


async def test_a_worker_may_be_done_with_a_message_before_its_pointer_is_confirmed(
    bundled_database: str, tmp_path: Path
) -> None:
    """What is to be tried again by then is not taken for handed over."""
    workers: list[PostgresQueue] = []

    async def work(pointers: Sequence[Pointer]) -> None:
        for pointer in pointers:
            job = await workers[0].claim(pointer)
            assert job is not None
            await workers[0].settle(Step(message_id=pointer.message_id, fence=job.fence, next=Again(0.0)))

    async with queue_of(bundled_database, tmp_path, work) as queue:
        workers.append(queue)
        await queue.enqueue(letters(3))
        assert await queue.hand_over(10) == 3
        connection = await asyncpg.connect(bundled_database)
        assert await connection.fetchval(HANDED) == 0
        await connection.close()


async def test_rows_that_workers_hold_are_confirmed_when_they_are_free(bundled_database: str, tmp_path: Path) -> None:
    """Without waiting for them: two that wait for one another would end in a deadlock."""
    holder = await asyncpg.connect(bundled_database)
    held = holder.transaction()

    async def take(pointers: Sequence[Pointer]) -> None:
        await held.start()
        await holder.execute("SELECT FROM relaypost.queue WHERE message_id = $1 FOR UPDATE", pointers[0].message_id)

    async with queue_of(bundled_database, tmp_path, take) as queue:
        await queue.enqueue(letters(3))
        handing = asyncio.create_task(queue.hand_over(10))
        await handed(bundled_database, 2)
        assert not handing.done()
        await held.rollback()
        assert await handing == 3
        await handed(bundled_database, 3)
    await holder.close()


@pytest.mark.parametrize("within", [False, True])
async def test_codes_are_handed_over_before_a_batch_that_was_due_first(
    within: bool, bundled_database: str, tmp_path: Path
) -> None:
    """A full batch of pointers begins with the urgent lane, however many others are due."""
    async with opened(bundled_database, tmp_path) as database:
        taken = Taken()
        by_lease, local = HandOverByLease(database, taken.put), HandOverWithin(database, taken)
        queue = PostgresQueue(database, lease=60.0, hand_over=by_lease)
        for lane, count in ((Lane.BULK, 30), (Lane.TRANSACTIONAL, 3), (Lane.OTP, 3)):
            await queue.enqueue(letters(count, lane))
        hand_over = local if within else by_lease
        assert [await hand_over.run(10) for _ in range(5)] == [10, 10, 10, 6, 0]
    first, *later = [[pointer.lane for pointer in batch] for batch in taken.batches]
    assert first == [Lane.OTP] * 3 + [Lane.TRANSACTIONAL] * 3 + [Lane.BULK] * 4
    assert set(chain(*later)) == {Lane.BULK}


@pytest.mark.parametrize("query", ["lease_pointers", "hand_over"])
async def test_a_look_for_what_is_due_does_not_read_what_is_not(query: str, bundled_database: str) -> None:
    """However many wait for a later time, or are with the engine."""
    connection = await asyncpg.connect(bundled_database)
    await connection.execute(MANY)
    await connection.execute("VACUUM ANALYZE relaypost.queue")
    arguments = [200, 30.0, URGENT_FIRST] if query == "lease_pointers" else [200, URGENT_FIRST]
    explained = await connection.fetch("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + QUERIES[query], *arguments)
    await connection.close()
    plan = orjson.loads(explained[0][0])[0]["Plan"]
    assert "queue_to_hand_over" in explained[0][0]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 40
