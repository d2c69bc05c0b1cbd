"""The queue as several gateways and workers see it, for tests."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from relaypost_server.core.message import Address, Email, Guarantee
from relaypost_server.core.queue import Lane, Pointer, Queued, Schedule
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.queueing import queued
from relaypost_server.flow.requests import Recovery
from relaypost_server.store.hand_over import HandOverWithin
from relaypost_server.store.message_batches import PostgresBatches
from relaypost_server.store.messages import PostgresLog
from relaypost_server.store.queue import PostgresQueue
from relaypost_server.store.requests import PostgresRequests
from tests.store.databases import opened

EMAIL = Email(sender=Address(email="a@example.com"), to=(Address(email="b@example.com"),), subject="s", text="t")
LONG, SHORT = 3600.0, 0.3
"""Seconds of a lease that does not end within a test, and of one that ends soon."""


@dataclass
class Replica:
    """One process's view of the queue."""

    queue: PostgresQueue
    log: PostgresLog
    requests: PostgresRequests
    batches: PostgresBatches
    handed: list[Pointer]

    async def recover(self) -> None:
        await Recovery(self.requests, retention=3600.0, clock=Clock()).sweep()
        await self.queue.sweep(lost=3600.0, dead=3600.0)


@dataclass
class LocalEngine:
    """An engine in the database that keeps its pointers in a list."""

    handed: list[Pointer]

    async def store(self, _: Any, pointers: Sequence[Pointer]) -> None:
        self.handed.extend(pointers)


@asynccontextmanager
async def opened_replicas(url: str, home: Path, *, lease: float) -> AsyncIterator[Sequence[Replica]]:
    """Two of them, with a lease of so many seconds."""
    async with AsyncExitStack() as stack:
        made = []
        for number in range(2):
            database = await stack.enter_async_context(opened(url, home / str(number)))
            handed: list[Pointer] = []

            hand_over = HandOverWithin(database, LocalEngine(handed))
            queue = PostgresQueue(database, lease=lease, hand_over=hand_over)
            log = PostgresLog(database)
            requests = PostgresRequests(database, lease=lease)
            made.append(Replica(queue, log, requests, PostgresBatches(database), handed))
        yield made


def letter(*, due: datetime | None = None, name: str = "", lane: Lane = Lane.BULK, **changes: Any) -> Queued:
    now = datetime.now(UTC)
    due = due or now
    schedule = Schedule(due=due, expires=due + timedelta(hours=1), lane=lane)
    return queued(
        changes.pop("content", EMAIL),
        schedule=schedule,
        guarantee=changes.pop("guarantee", Guarantee.AT_LEAST_ONCE),
        metadata={"order": "7"},
        caller="shop",
        method="EnqueueEmail",
        request_id=name,
        now=now,
        **changes,
    )


def pointer_to(message: Queued) -> Pointer:
    return Pointer(message.record.id, message.schedule.lane, message.record.channel)
