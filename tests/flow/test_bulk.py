"""Batches that are followed."""

from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from relaypost_server.core.adjustments import Adjustment, AdjustmentKind
from relaypost_server.core.message import MessageState
from relaypost_server.core.queue import Batch, BatchProgress, Lane, Queued
from relaypost_server.core.queue_ports import Enqueued
from relaypost_server.flow import bulk
from relaypost_server.flow.bulk import MOST_WATCHERS, Batches, Intake, TooManyStreamsError
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.watch import TooManyWatchersError
from relaypost_server.telemetry.metrics import Metrics
from tests.store.queues import letter

BATCH = Batch(
    id="01981f00-0000-7000-8000-000000000001",
    caller="shop",
    create_time=datetime(2026, 7, 1, tzinfo=UTC),
    fingerprint="f",
    stored=2,
    closed=True,
)


@dataclass
class OneBatch:
    """A `BatchStore` that knows one batch; each look takes the next of its states, and the last one for ever."""

    waiting: list[int] = field(default_factory=lambda: [2])
    looks: int = 0

    async def find(self, caller: str, **_: Any) -> Batch | None:
        return BATCH if caller == BATCH.caller else None

    async def progress(self, batch: Batch) -> BatchProgress:
        self.looks += 1
        waiting = self.waiting.pop(0) if len(self.waiting) > 1 else self.waiting[0]
        return BatchProgress(batch=batch, states={MessageState.QUEUED: waiting, MessageState.SENT: 2 - waiting})


def batches(store: OneBatch) -> Batches:
    tools: dict[str, Any] = {"on_stored": lambda: None, "metrics": Metrics(), "clock": Clock()}
    return Batches(store, store, **tools)  # type: ignore[arg-type]


async def test_a_batch_is_told_when_it_changes_until_nothing_of_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "WATCH_SECONDS", 0.001)
    store = OneBatch([2, 2, 1, 0])
    told = [p.states[MessageState.QUEUED] async for p in batches(store).watch("shop", BATCH.id)]
    assert (told, store.looks) == ([2, 1, 0], 4)


async def test_a_batch_of_nobody_ends_at_once() -> None:
    assert [p async for p in batches(OneBatch()).watch("another", BATCH.id)] == []


async def test_no_more_are_followed_than_the_database_can_count() -> None:
    followed = batches(OneBatch())
    async with AsyncExitStack() as stack:
        for _ in range(MOST_WATCHERS):
            await anext(await stack.enter_async_context(aclosing(followed.watch("shop", BATCH.id))))
        with pytest.raises(TooManyWatchersError):
            await anext(followed.watch("shop", BATCH.id))
    assert await anext(followed.watch("shop", BATCH.id))


def test_only_so_many_streams_are_read_at_once() -> None:
    followed = batches(OneBatch())
    with ExitStack() as streams:
        for _ in range(followed.most_streams):
            streams.enter_context(followed.stream())
        with pytest.raises(TooManyStreamsError), followed.stream():
            pass
    with followed.stream():
        pass


class HalfStored:
    """A `BatchStore` and `QueueStore` in which every second message was stored by an earlier stream."""

    async def enqueue(self, queued: Sequence[Queued]) -> Sequence[Enqueued]:
        return [Enqueued(message_id=q.record.id, new=place % 2 == 0) for place, q in enumerate(queued)]

    async def advance(self, *_: Any, **__: Any) -> None: ...


async def test_changes_are_counted_for_the_messages_of_a_batch_that_are_new() -> None:
    store: Any = HalfStored()
    metrics = Metrics()
    intake = Intake(BATCH, store, store, lane=Lane.BULK, on_stored=lambda: None, metrics=metrics)
    trimmed = Adjustment(field="messages[7].sms.to", kind=AdjustmentKind.TRIMMED, description="spaces were dropped")
    for position in range(4):
        queued = letter()
        await intake.add(replace(queued, message=replace(queued.message, adjustments=(trimmed,))), position)
    await intake.close()
    assert b'relaypost_adjustments_total{field="messages.sms.to",kind="trimmed"} 2.0' in metrics.render()
