"""Lets an engine forget pointers that were followed, many at once."""

import asyncio

import structlog

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

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            await self._flush()
            await asyncio.sleep(GATHER_SECONDS)

    async def _flush(self) -> None:
        finished, self._waiting = self._waiting, []
        if not finished:
            return
        try:
            await self._queue.done(finished)
        except QueueUnavailableError as error:
            log.warning("pointers come again by themselves", pointers=len(finished), error=str(error))
