"""Hands messages over to the engine when they are due, and puts right what dead workers left behind."""

import asyncio
import contextlib
from collections.abc import Sequence

import structlog

from relaypost_server.core.background import Task
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.queue_ports import QueueStore, QueueUnavailableError
from relaypost_server.flow.background import Background

POLL_SECONDS = 0.25
"""Between two looks for messages that have become due."""
AT_ONCE = 200
"""In one batch, which a slow engine takes in time. What fails is handed over again: at most so many."""
SWEEP_SECONDS = 5.0
LOST_SECONDS = 6 * 3600.0
"""A pointer that no worker followed for so long is made anew; a second one does no harm."""

log = structlog.get_logger("relaypost.queue")


class Relay(Background):
    """Any number of replicas may run one."""

    def __init__(self, store: QueueStore, *, dead_retention: float) -> None:
        """`dead_retention`: seconds for which what a message says is kept that was given up."""
        self._store = store
        self._dead_retention = dead_retention
        self._work = asyncio.Event()
        self._limit = AT_ONCE
        """Of the next batch. After a failure one message is tried, then twice as many each time: an engine that takes
        pointers and does not say so, again and again, must not get the same hundreds each time."""

    def poke(self) -> None:
        """There may be something to hand over."""
        self._work.set()

    def tasks(self) -> Sequence[Task]:
        return (
            Task(name="due_relay", round=self._hand_over),
            Task(name="queue_sweep", round=self._sweep, pause=SWEEP_SECONDS),
        )

    async def _hand_over(self) -> float:
        self._work.clear()
        try:
            more = await self._store.hand_over(self._limit) == self._limit
        except (LogUnavailableError, QueueUnavailableError) as error:
            log.warning("nothing can be handed over", error=type(error).__name__)
            self._limit = 1
            return SWEEP_SECONDS
        self._limit = min(2 * self._limit, AT_ONCE)
        if not more:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._work.wait()
        return 0.0

    async def _sweep(self) -> None:
        await self._store.sweep(lost=LOST_SECONDS, dead=self._dead_retention)
