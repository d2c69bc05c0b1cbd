"""Hands messages over to the engine when they are due, and puts right what dead workers left behind."""

import asyncio
import contextlib

import structlog

from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.queue_ports import QueueStore, QueueUnavailableError

POLL_SECONDS = 0.25
"""Between two looks for messages that have become due."""
AT_ONCE = 200
"""In one batch, which a slow engine takes in time. What fails is handed over again: at most so many."""
SWEEP_SECONDS = 5.0
LOST_SECONDS = 6 * 3600.0
"""A pointer that no worker followed for so long is made anew; a second one does no harm."""

log = structlog.get_logger("relaypost.queue")


class Relay:
    """Any number of replicas may run one."""

    def __init__(self, store: QueueStore, *, dead_retention: float) -> None:
        """`dead_retention`: seconds for which what a message says is kept that was given up."""
        self._store = store
        self._dead_retention = dead_retention
        self._work = asyncio.Event()
        self._limit = AT_ONCE
        """Of the next batch. After a failure one message is tried, then twice as many each time: an engine that takes
        pointers and does not say so, again and again, must not get the same hundreds each time."""
        self._tasks: list[asyncio.Task[None]] = []

    def poke(self) -> None:
        """There may be something to hand over."""
        self._work.set()

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._hand_over()), asyncio.create_task(self._sweep())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hand_over(self) -> None:
        while True:
            self._work.clear()
            try:
                more = await self._store.hand_over(self._limit) == self._limit
                self._limit = min(2 * self._limit, AT_ONCE)
            except (LogUnavailableError, QueueUnavailableError) as error:
                log.warning("nothing can be handed over", error=type(error).__name__)
                more, self._limit = False, 1
                await asyncio.sleep(SWEEP_SECONDS)
            if not more:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._work.wait(), POLL_SECONDS)

    async def _sweep(self) -> None:
        while True:
            with contextlib.suppress(LogUnavailableError):  # The log reports that itself.
                await self._store.sweep(lost=LOST_SECONDS, dead=self._dead_retention)
            await asyncio.sleep(SWEEP_SECONDS)
