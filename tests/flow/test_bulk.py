"""Batches that are followed."""

from contextlib import AsyncExitStack, ExitStack, aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from relaypost_server.core.message import MessageState
from relaypost_server.core.queue import Batch, BatchProgress
from relaypost_server.flow import bulk
from relaypost_server.flow.bulk import MOST_WATCHERS, Batches, TooManyStreamsError
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.watch import TooManyWatchersError
from relaypost_server.telemetry.metrics import Metrics

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
