"""Waits for pointers in the database, on behalf of all lanes at once: one statement looks for those of every lane."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from relaypost_server.core.queue import Lane
from relaypost_server.core.queue_ports import QueueUnavailableError

POLL_SECONDS = 0.1
"""Between two looks, which are made while somebody waits."""


class Lookout:
    """Needs no start and no stop: once nobody waits it looks no more."""

    def __init__(self, look: Callable[[Collection[str]], Awaitable[Collection[str]]]) -> None:
        """`look`: those of some lanes that hold something; it may raise QueueUnavailableError."""
        self._look = look
        self._waiting: dict[asyncio.Future[None], Lane] = {}
        self._watch: asyncio.Task[None] | None = None

    async def wait(self, lane: Lane, seconds: float) -> bool:
        """True once the lane holds something, False when the time is over. Raises QueueUnavailableError."""
        heard = asyncio.get_running_loop().create_future()
        self._waiting[heard] = lane
        if self._watch is None:
            self._watch = asyncio.create_task(self._keep_looking())
        try:
            async with asyncio.timeout(seconds):
                await heard
        except TimeoutError:
            return False
        else:
            return True
        finally:
            del self._waiting[heard]

    async def _keep_looking(self) -> None:
        try:
            await asyncio.sleep(POLL_SECONDS)
            while self._waiting:
                await self._look_once()
                await asyncio.sleep(POLL_SECONDS)
        finally:
            self._watch = None

    async def _look_once(self) -> None:
        try:
            found = await self._look(sorted(set(self._waiting.values())))
        except Exception as error:  # Also a bug reaches the waiters: this task is not awaited.
            expected = isinstance(error, QueueUnavailableError)
            for heard in self._waiting:
                if not heard.done():
                    heard.set_exception(QueueUnavailableError(*error.args) if expected else error)
            return
        for heard, lane in self._waiting.items():
            if lane in found and not heard.done():
                heard.set_result(None)
