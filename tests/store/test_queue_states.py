"""The states of queued messages on a real PostgreSQL: what dies, is cancelled, requeued, reported and repeated."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.delivery import EventType
from relaypost_server.core.failover import Attempt
from relaypost_server.core.idempotency import Started, still_in_doubt
from relaypost_server.core.message import MessageState
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.queue import Again, Dead, Death, Done, Job, Lane, Queued, Schedule
from relaypost_server.core.queue_ports import Step
from relaypost_server.flow.bulk import METHOD
from relaypost_server.store.deliveries import PostgresDeliveries
from tests.receipts import event
from tests.store.databases import opened
from tests.store.queues import LONG, Replica, letter, opened_replicas, pointer_to

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
NOW = datetime(2026, 7, 1, tzinfo=UTC)


@pytest.fixture(params=[LONG])
async def replicas(
    request: pytest.FixtureRequest, bundled_database: str, tmp_path: Path
) -> AsyncIterator[Sequence[Replica]]:
    """Two of them; the parameter is their lease."""
    async with opened_replicas(bundled_database, tmp_path, lease=request.param) as made:
        yield made


def attempt(kind: Kind) -> Attempt:
    return Attempt(provider="ses", outcome=Outcome(kind=kind), circuit=CircuitState.CLOSED, start_time=NOW)


async def lease_ends(url: str) -> None:
    """As if every worker had died some time ago."""
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE relaypost.requests SET lease_until = now() WHERE lease_until IS NOT NULL")
    await connection.close()


async def taken(replica: Replica, message: Queued) -> Job:
    job = await replica.queue.claim(pointer_to(message))
    assert job is not None
    return job


async def states(replica: Replica, *messages: Queued) -> list[MessageState | None]:
    found = [await replica.log.get(message.record.id) for message in messages]
    return [None if record is None else record.state for record in found]


async def test_what_a_dead_worker_held_is_queued_unconfirmed_or_dead(
    replicas: Sequence[Replica], bundled_database: str
) -> None:
    one, two = replicas
    unsent, tried, doubtful, buried = messages = [letter() for _ in range(4)]
    await one.queue.enqueue(messages)
    jobs = {message.record.id: await taken(one, message) for message in messages}
    for message, attempts in ((tried, (attempt(Kind.FAULTED),)), (doubtful, ())):
        job = jobs[message.record.id]
        begun = replace(job.record, attempts=attempts)
        assert await one.requests.starting(begun, Started(provider="ses", time=NOW), fence=job.fence)
    await one.queue.settle(Step(message_id=buried.record.id, fence=1, next=Dead(Death.EXPIRED)))
    await lease_ends(bundled_database)
    await two.recover()
    assert await states(two, unsent, tried, doubtful, buried) == [
        MessageState.QUEUED,
        MessageState.UNCONFIRMED,
        MessageState.UNCONFIRMED,
        MessageState.DEAD,
    ]
    assert await two.queue.hand_over(10) == 3
    assert (await taken(two, unsent)).tries == 2
    assert [d.record.id for d in await two.queue.dead_letters(before=None, limit=10)] == [buried.record.id]


@pytest.mark.parametrize("late", [Done(), Again(3600.0), Dead(Death.TRIED)])
async def test_a_worker_that_was_taken_over_settles_nothing(
    late: Done | Again | Dead, replicas: Sequence[Replica], bundled_database: str
) -> None:
    one, two = replicas
    message = letter()
    await one.queue.enqueue([message])
    slow = await taken(one, message)
    await lease_ends(bundled_database)
    await two.recover()
    job = await taken(two, message)
    await one.queue.settle(Step(message_id=message.record.id, fence=slow.fence, next=late))
    await two.requests.finish(replace(job.record, state=MessageState.QUEUED), fence=job.fence, kept=False)
    await two.queue.settle(Step(message_id=message.record.id, fence=job.fence, next=Again(0.0)))
    assert await one.queue.hand_over(10) == 1
    assert (await taken(one, message)).tries == 3


async def test_a_worker_that_lost_its_lease_does_not_bring_back_what_was_cancelled(
    replicas: Sequence[Replica], bundled_database: str
) -> None:
    one, two = replicas
    message = letter()
    await one.queue.enqueue([message])
    slow = await taken(one, message)
    await lease_ends(bundled_database)
    await two.recover()
    await two.queue.cancel(message.record.id)
    await one.requests.finish(replace(slow.record, state=MessageState.QUEUED), fence=slow.fence, kept=False)
    await one.queue.settle(Step(message_id=message.record.id, fence=slow.fence, next=Again(0.0)))
    assert await states(two, message) == [MessageState.CANCELLED]
    assert await two.queue.earlier(message) is not None


async def test_what_may_have_been_sent_is_not_cancelled(replicas: Sequence[Replica], bundled_database: str) -> None:
    """AT_LEAST_ONCE: another provider gets it, so the answer no must not stop that."""
    one, two = replicas
    message = letter()
    await one.queue.enqueue([message])
    job = await taken(one, message)
    await one.requests.starting(job.record, Started(provider="ses", time=NOW), fence=job.fence)
    await lease_ends(bundled_database)
    await two.recover()
    record = await two.queue.cancel(message.record.id)
    assert record is not None
    assert record.state is MessageState.UNCONFIRMED
    assert await two.queue.hand_over(10) == 1
    assert still_in_doubt((await taken(two, message)).record)


async def dead_letter(replica: Replica) -> Queued:
    message = letter()
    await replica.queue.enqueue([message])
    job = await taken(replica, message)
    await replica.queue.settle(Step(message_id=message.record.id, fence=job.fence, next=Dead(Death.TRIED)))
    await replica.requests.finish(replace(job.record, state=MessageState.DEAD), fence=job.fence, kept=False)
    return message


async def test_a_dead_letter_that_a_receipt_has_settled_is_not_requeued(
    replicas: Sequence[Replica], bundled_database: str, tmp_path: Path
) -> None:
    one, two = replicas
    message = await dead_letter(one)
    async with opened(bundled_database, tmp_path / "receipts") as database:
        arrived = event(EventType.DELIVERED, message_id=message.record.id)
        assert await PostgresDeliveries(database).record([arrived]) == 1
    requeued, record = await two.queue.requeue(message.record.id, {Lane.BULK: 60.0})
    assert record is not None
    assert (requeued, record.state) == (False, MessageState.DELIVERED)
    assert await two.queue.dead_letters(before=None, limit=10) == []


async def test_a_person_who_says_that_a_queued_message_was_not_sent_leaves_it_queued(
    replicas: Sequence[Replica], bundled_database: str
) -> None:
    one, two = replicas
    waiting = letter()
    await one.queue.enqueue([waiting])
    job = await taken(one, waiting)
    await one.requests.starting(job.record, Started(provider="ses", time=NOW), fence=job.fence)
    await lease_ends(bundled_database)
    await two.recover()
    resolved = await two.log.resolve(waiting.record.id, sent=False)
    assert resolved is not None
    assert resolved.state is MessageState.QUEUED
    assert await two.queue.hand_over(10) == 1
    assert not still_in_doubt((await taken(two, waiting)).record)


async def test_a_failure_that_one_provider_reports_late_does_not_end_what_is_queued(
    replicas: Sequence[Replica], bundled_database: str, tmp_path: Path
) -> None:
    """It answered that it did not take the message, took it, and gave it up: the next try goes on."""
    one, two = replicas
    message = letter()
    await one.queue.enqueue([message])
    job = await taken(one, message)
    await one.requests.finish(replace(job.record, state=MessageState.QUEUED), fence=job.fence, kept=False)
    await one.queue.settle(Step(message_id=message.record.id, fence=job.fence, next=Again(0.0)))
    async with opened(bundled_database, tmp_path / "receipts") as database:
        await PostgresDeliveries(database).record([event(EventType.FAILED, message_id=message.record.id)])
    assert await states(two, message) == [MessageState.QUEUED]
    assert await two.queue.hand_over(10) == 1
    assert (await taken(two, message)).tries == 2


async def test_the_database_tells_what_is_due_and_how_long_it_lives(replicas: Sequence[Replica]) -> None:
    """Whatever the gateway's clock says: it names no time."""
    message = letter(lane=Lane.OTP)
    message = replace(message, schedule=Schedule(due=None, expires=None, lane=Lane.OTP))
    await replicas[0].queue.enqueue([message])
    assert replicas[0].handed == [pointer_to(message)]
    assert 290.0 < (await taken(replicas[1], message)).time_left <= 300.0


async def test_the_names_of_a_batch_are_not_forgotten_before_the_batch(
    replicas: Sequence[Replica], bundled_database: str
) -> None:
    """Its stream may be repeated at any time: what was sent long ago is not sent again."""
    one, two = replicas
    batch = await one.batches.open(letter().record.id, caller="shop", request_id="news", fingerprint="f")

    def place() -> Queued:
        return replace(letter(name=f"{batch.id}/1", batch_id=batch.id), method=METHOD)

    first, single = place(), letter(name="order-7")
    await one.queue.enqueue([first, single])
    for message in (first, single):
        job = await taken(one, message)
        await one.requests.finish(replace(job.record, state=MessageState.SENT), fence=job.fence, kept=True)
        await one.queue.settle(Step(message_id=message.record.id, fence=job.fence, next=Done()))
    connection = await asyncpg.connect(bundled_database)
    await connection.execute("UPDATE relaypost.requests SET remembered_from = now() - interval '80 hours'")
    await connection.close()
    await two.requests.forget(older_than=72 * 3600.0)
    answers = await two.queue.enqueue([place(), letter(name="order-7")])
    assert [a.new for a in answers] == [False, True]


async def test_a_claim_whose_worker_was_cancelled_meanwhile_is_given_back(
    replicas: Sequence[Replica], bundled_database: str
) -> None:
    """At once: it does not wait for the lease to end, and the message gets a new pointer."""
    one, two = replicas
    message = letter()
    await one.queue.enqueue([message])
    holder = await asyncpg.connect(bundled_database)
    async with asyncio.timeout(30):
        async with holder.transaction():
            await holder.execute("SELECT FROM relaypost.queue FOR UPDATE")
            claiming = asyncio.create_task(one.queue.claim(pointer_to(message)))
            while not await holder.fetchval(WAITING):
                await asyncio.sleep(0.02)
            claiming.cancel()
            await asyncio.wait([claiming])
        while not await two.queue.hand_over(10):
            await asyncio.sleep(0.02)
    await holder.close()
    assert await states(two, message) == [MessageState.QUEUED]
    job = await taken(two, message)
    assert (job.tries, job.fence) == (1, 2)
