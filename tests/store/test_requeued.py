"""What is known of a message stays known when an operator requeues it, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.failover import Attempt, SkipReason
from relaypost_server.core.idempotency import Started
from relaypost_server.core.message import MessageState
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.queue import Again, Dead, Death, Job, Lane, Queued
from relaypost_server.core.queue_ports import Step
from relaypost_server.core.record import MessageRecord
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.pacer import Pacer
from relaypost_server.flow.worker import Crew, Worker
from relaypost_server.queues.postgres import PgQueue
from tests.fakes.providers import FakeProvider, Rig
from tests.store.queues import LONG, Replica, letter, opened_replicas, pointer_to

NOW = datetime(2026, 7, 1, tzinfo=UTC)
LIVES = {Lane.BULK: 60.0}


@pytest.fixture
async def replica(bundled_database: str, tmp_path: Path) -> AsyncIterator[Replica]:
    async with opened_replicas(bundled_database, tmp_path, lease=LONG) as made:
        yield made[0]


def attempt(provider: str, kind: Kind, skipped: SkipReason | None = None) -> Attempt:
    outcome = Outcome(kind=kind)
    return Attempt(provider=provider, outcome=outcome, circuit=CircuitState.CLOSED, start_time=NOW, skipped=skipped)


async def claimed(replica: Replica, message: Queued) -> Job:
    job = await replica.queue.claim(pointer_to(message))
    assert job is not None
    return job


async def end(replica: Replica, job: Job, state: MessageState, step: Again | Dead, *attempts: Attempt) -> None:
    """A try made these attempts."""
    record = replace(job.record, state=state, attempts=(*job.record.attempts, *attempts))
    await replica.requests.finish(record, fence=job.fence, kept=False)
    await replica.queue.settle(Step(message_id=record.id, fence=job.fence, next=step))


async def test_a_dead_letter_keeps_the_attempts_of_its_earlier_tries(replica: Replica) -> None:
    message = letter()
    await replica.queue.enqueue([message])
    tried = (attempt("ses", Kind.FAULTED), attempt("sendgrid", Kind.FAULTED))
    await end(replica, await claimed(replica, message), MessageState.DEAD, Dead(Death.TRIED), *tried)
    assert (await replica.queue.requeue(message.record.id, LIVES))[0]
    again = await claimed(replica, message)
    assert (again.tries, again.record.attempts) == (1, tried)
    await end(replica, again, MessageState.QUEUED, Again(60.0), attempt("ses", Kind.THROTTLED))
    record = await replica.log.get(message.record.id)
    assert record is not None
    assert [a.kind for a in record.attempts] == [Kind.FAULTED, Kind.FAULTED, Kind.THROTTLED]


async def test_a_try_that_does_not_count_is_on_record_all_the_same(replica: Replica) -> None:
    message = letter()
    await replica.queue.enqueue([message])
    passed = attempt("ses", Kind.SKIPPED, SkipReason.COOLING)
    await end(replica, await claimed(replica, message), MessageState.QUEUED, Again(0.0, counted=False), passed)
    again = await claimed(replica, message)
    assert (again.tries, again.record.attempts) == (1, (passed,))


async def test_a_dead_letter_that_was_given_up_in_doubt_is_not_sent_by_the_same_provider_again(
    replica: Replica, bundled_database: str
) -> None:
    """A worker died while `ses` was asked, and the message expired before another one came to it."""
    message = letter()
    await replica.queue.enqueue([message])
    job = await claimed(replica, message)
    assert await replica.requests.starting(job.record, Started(provider="ses", time=NOW), fence=job.fence)
    await changed(bundled_database, "requests SET lease_until = now() - interval '1 second'")
    await replica.recover()
    await changed(bundled_database, "queue SET expire_time = now()")
    rig = Rig([FakeProvider("ses"), FakeProvider("sendgrid")])
    async with working(replica, rig, bundled_database) as engine:
        await engine.put([pointer_to(message)])
        buried = await reached(replica, message, lambda: replica.queue.dead_letters(before=None, limit=1))
        assert (buried.state, [p.received for p in rig.providers]) == (MessageState.UNCONFIRMED, [[], []])
        assert (await replica.queue.requeue(message.record.id, LIVES))[0]
        await engine.put([pointer_to(message)])
        sent = await reached(replica, message, lambda: asyncio.sleep(0, rig.providers[1].received))
    assert [(a.provider, a.kind) for a in sent.attempts][:1] == [("ses", Kind.UNCONFIRMED)]
    assert [len(p.received) for p in rig.providers] == [0, 1]


async def changed(url: str, what: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(f"UPDATE relaypost.{what}")
    await connection.close()


@asynccontextmanager
async def working(replica: Replica, rig: Rig, url: str) -> AsyncIterator[PgQueue]:
    """A worker on a real engine, with the providers of the rig."""
    engine = PgQueue(lambda: asyncpg.connect(url))
    await engine.start()
    crew = Crew(
        queue=engine,
        store=replica.queue,
        requests=replica.requests,
        emails=rig.sender,
        texts=rig.sender,
        pacer=Pacer(replica.queue, {}),
        lease=LONG,
        metrics=rig.metrics,
        clock=Clock(),
    )
    worker = Worker(crew, {Lane.BULK: 1})
    worker.start()
    try:
        yield engine
    finally:
        await worker.drain()
        await engine.close()


async def reached(replica: Replica, message: Queued, look: Callable[[], Awaitable[object]]) -> MessageRecord:
    """The message, once there is something to see and no worker is at it."""
    async with asyncio.timeout(20):
        while True:
            seen, record = await look(), await replica.log.get(message.record.id)
            if seen and record is not None and record.state not in (MessageState.SENDING, MessageState.QUEUED):
                return record
            await asyncio.sleep(0.05)
