"""Lets an engine forget pointers that were followed, many at once."""

import asyncio
from collections.abc import Sequence

import structlog

from relaypost_server.core.background import Task
from relaypost_server.core.queue_ports import Queue, QueueUnavailableError, Taken
from relaypost_server.flow.background import Background

GATHER_SECONDS = 0.02
"""Between two calls of the engine. Pointers that a crash leaves here come again, and lead to nothing."""

log = structlog.get_logger("relaypost.worker")


class Finished(Background):
    """Pointers that lead to nothing any more."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._waiting: list[Taken] = []
        self._work = asyncio.Event()

    async def stop(self) -> None:
        """Hands over what is left."""
        await super().stop()
        await self._flush()

    def add(self, taken: Taken) -> None:
        self._waiting.append(taken)
        self._work.set()

    def tasks(self) -> Sequence[Task]:
        return [Task(name="queue_acknowledgements", round=self._round, pause=GATHER_SECONDS)]

    async def _round(self) -> None:
        await self._work.wait()
        self._work.clear()
        await self._flush()

    async def _flush(self) -> None:
        finished, self._waiting = self._waiting, []
        if not finished:
            return
        try:
            await self._queue.done(finished)
        except QueueUnavailableError as error:
            log.warning("pointers come again by themselves", pointers=len(finished), error=str(error))
