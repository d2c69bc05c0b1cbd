"""The SQL with which operators delete old messages, as docs/operations.md has it, and what deleted rows do."""

import re
import textwrap
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from relaypost_server.core.delivery import DeliveryEvent, EventType
from relaypost_server.core.idempotency import Begun, Claim, InProgress, RequestKey
from relaypost_server.core.message import Address, Email, Guarantee, MessageState
from relaypost_server.core.queue import Again, Dead, Death, Lane, Pointer, Queued, Schedule
from relaypost_server.core.queue_ports import Step
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.queueing import queued
from relaypost_server.flow.requests import Recovery
from relaypost_server.store.database import Database
from relaypost_server.store.deliveries import PostgresDeliveries
from relaypost_server.store.hand_over import HandOverWithin
from relaypost_server.store.messages import PostgresLog
from relaypost_server.store.queue import PostgresQueue
from relaypost_server.store.requests import PostgresRequests
from tests.peers import ROOT
from tests.store.databases import opened
from tests.store.queues import LocalEngine
from tests.store.records import record

OLD = timedelta(days=100)
FORMER_SQL = """
WITH old AS (DELETE FROM relaypost.messages WHERE create_time < now() - interval '90 days' RETURNING id)
DELETE FROM relaypost.attempts USING old WHERE message_id = old.id
"""
"""As version 0.1.0 documented it: it may still run somewhere."""


def documented() -> str:
    page = (ROOT / "docs" / "operations.md").read_text()
    [sql] = re.findall(r"^  ```sql\n(.*?)^  ```", page, re.MULTILINE | re.DOTALL)
    return textwrap.dedent(sql)


@dataclass
class Store:
    database: Database
    url: str

    def __post_init__(self) -> None:
        hand_over = HandOverWithin(self.database, LocalEngine([]))
        self.queue = PostgresQueue(self.database, lease=3600.0, hand_over=hand_over)
        self.log = PostgresLog(self.database)
        self.requests = PostgresRequests(self.database, lease=3600.0)

    async def execute(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def enqueue(self, due: datetime) -> Queued:
        """A message that was queued long ago."""
        message = queued(
            Email(sender=Address(email="a@example.com"), to=(Address(email="b@example.com"),), subject="s", text="t"),
            schedule=Schedule(due=due, expires=due + timedelta(hours=1), lane=Lane.BULK),
            guarantee=Guarantee.AT_LEAST_ONCE,
            metadata={},
            caller="shop",
            method="EnqueueEmail",
            request_id="",
            now=datetime.now(UTC) - OLD,
        )
        await self.queue.enqueue([message])
        return message

    async def claimed(self, name: str = "r-1", *, age: timedelta = OLD) -> Claim:
        """A request that a gateway has just claimed."""
        made = Claim(
            key=RequestKey(caller="signup", method="SendEmail", request_id=name),
            fingerprint="f",
            record=record(state=MessageState.SENDING, attempts=(), create_time=datetime.now(UTC) - age),
            first_provider="ses",
        )
        assert isinstance(await self.requests.begin(made), Begun)
        return made

    async def lose(self, *message_ids: str) -> None:
        """Their rows are gone, as after the former SQL on a database without the trigger."""
        ids = ", ".join(f"'{message_id}'" for message_id in message_ids)
        await self.execute(
            "ALTER TABLE relaypost.messages DISABLE TRIGGER keep_unsent",
            f"DELETE FROM relaypost.messages WHERE id IN ({ids})",
            "ALTER TABLE relaypost.messages ENABLE TRIGGER keep_unsent",
        )

    async def end_leases(self) -> None:
        await self.execute("UPDATE relaypost.requests SET lease_until = now() WHERE lease_until IS NOT NULL")

    async def recover(self) -> int:
        return await Recovery(self.requests, retention=3600.0, clock=Clock()).sweep()


@pytest.fixture
async def store(bundled_database: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(bundled_database, tmp_path) as database:
        yield Store(database, bundled_database)


def pointer_to(message: Queued) -> Pointer:
    return Pointer(message.record.id, message.schedule.lane, message.record.channel)


@pytest.mark.parametrize("sql", [documented(), FORMER_SQL], ids=["documented", "former"])
async def test_what_is_still_to_be_sent_is_spared(sql: str, store: Store) -> None:
    now = datetime.now(UTC)
    old, young = record(create_time=now - OLD), record(create_time=now)
    for each in (old, young):
        assert await store.log.append(each)
    scheduled, due, dead, retried = [await store.enqueue(now + timedelta(days=d)) for d in (30, 0, 0, 0)]
    for message, then in ((dead, Dead(Death.TRIED)), (retried, Again(3600.0))):
        job = await store.queue.claim(pointer_to(message))
        assert job is not None
        state = MessageState.DEAD if isinstance(then, Dead) else MessageState.QUEUED
        await store.requests.finish(replace(job.record, state=state), fence=job.fence, kept=False)
        await store.queue.settle(Step(message_id=message.record.id, fence=job.fence, next=then))
    sending = await store.claimed()

    await store.execute(sql)
    assert await store.log.get(old.id) is None
    for spared in (young, scheduled.record, due.record, dead.record, retried.record, sending.record):
        assert await store.log.get(spared.id) is not None
    job = await store.queue.claim(pointer_to(due))
    assert job is not None
    assert job.message is not None


async def test_what_belongs_to_an_old_message_goes_with_it(store: Store) -> None:
    now = datetime.now(UTC)
    messages = [record(create_time=now - OLD), record(create_time=now)]
    for number, each in enumerate(messages):
        assert await store.log.append(each)
        event = DeliveryEvent(
            provider="smtp", event_id=f"e-{number}", message_id=each.id, type=EventType.DELIVERED, time=now
        )
        await PostgresDeliveries(store.database).record([event])
    await store.execute(documented())
    for table in ("attempts", "delivery_events"):
        left = await _column(store, f"SELECT DISTINCT message_id::text FROM relaypost.{table}")
        assert left == [messages[1].id], table


async def test_recovery_goes_on_where_a_message_is_gone(store: Store) -> None:
    """It is over: nothing is sent, and a repeated request is refused for as long as it is remembered."""
    lost, other = await store.claimed("lost"), await store.claimed("other")
    queued_one = await store.enqueue(datetime.now(UTC))
    assert await store.queue.claim(pointer_to(queued_one)) is not None
    await store.lose(lost.record.id, queued_one.record.id)
    await store.end_leases()
    with capture_logs() as logged:
        assert await store.recover() == 1
        assert await store.recover() == 0
    assert [e["requests"] for e in logged if e["event"].startswith("abandoned requests ended")] == [2]
    found = await store.log.get(other.record.id)
    assert found is not None
    assert found.state is MessageState.UNCONFIRMED
    assert await _column(store, "SELECT message_id::text FROM relaypost.queue") == []
    again = replace(lost, record=record(state=MessageState.SENDING, attempts=()))
    assert isinstance(await store.requests.begin(again), InProgress)


async def test_a_queued_message_whose_row_is_gone_is_dropped_and_told_of(store: Store) -> None:
    lost, kept = await store.enqueue(datetime.now(UTC)), await store.enqueue(datetime.now(UTC))
    await store.lose(lost.record.id)
    with capture_logs() as logged:
        assert await store.queue.claim(pointer_to(lost)) is None
        assert await store.queue.claim(pointer_to(kept)) is not None
    assert [e["message_id"] for e in logged if e["log_level"] == "error"] == [lost.record.id]
    assert await _column(store, "SELECT message_id::text FROM relaypost.queue") == [kept.record.id]
    leased = await _column(store, "SELECT message_id::text FROM relaypost.requests WHERE lease_until IS NOT NULL")
    assert leased == [kept.record.id]


async def _column(store: Store, query: str) -> list[str]:
    connection = await asyncpg.connect(store.url)
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()
