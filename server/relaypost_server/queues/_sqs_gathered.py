"""Makes one call out of many things that are asked for one by one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from relaypost_server.cancellation import is_cancelled
from relaypost_server.core.queue_ports import QueueUnavailableError

T = TypeVar("T")


class Gathered(Generic[T]):
    """A lone item goes at once; while calls are on their way others gather, and go together.

    Needs no start and no stop: it works while something waits.
    """

    def __init__(self, call: Callable[[Sequence[T]], Awaitable[None]], *, most: int, at_once: int = 1) -> None:
        """At most `most` items go in a call, and at most `at_once` calls are on their way."""
        self._call = call
        self._most = most
        self._at_once = at_once
        self._waiting: deque[tuple[T, asyncio.Future[None]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, items: Iterable[T]) -> None:
        """Returns when every item has gone. Raises what its call raised."""
        loop = asyncio.get_running_loop()
        ours = [(item, loop.create_future()) for item in items]
        self._waiting.extend(ours)
        while len(self._tasks) < self._at_once and self._most * len(self._tasks) < len(self._waiting):
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        for error in await asyncio.gather(*(gone for _, gone in ours), return_exceptions=True):
            if error is not None:
                raise error

    async def _work(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            try:
                await self._call([item for item, _ in batch])
            except Exception as error:
                _settle(batch, error)
            except asyncio.CancelledError:  # Otherwise the senders would wait for ever.
                _settle(batch, QueueUnavailableError("cancelled"))
                if is_cancelled():
                    raise
            else:
                _settle(batch, None)


def _settle(batch: Iterable[tuple[object, asyncio.Future[None]]], error: Exception | None) -> None:
    for _, gone in batch:
        if gone.done():  # Whoever asked may have gone.
            continue
        if error is None:
            gone.set_result(None)
        else:
            gone.set_exception(error)
