"""Walks that run, each as a task of its own: they go on when whoever waits for them goes away."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from relaypost_server.flow.dispatch import Caller

Result = TypeVar("Result")


class Walks(Generic[Result]):
    """Those of one channel."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Future[Result], tuple[asyncio.Task[None], Caller]] = {}
        """By the answers that are waited for."""
        self._stopping = False

    async def run(self, walk: Coroutine[Any, Any, Result], caller: Caller) -> Result:
        """What comes of the walk. A caller who goes away is marked as gone, and the walk goes on."""
        loop = asyncio.get_running_loop()
        if self._stopping:
            caller.stopping = True
        answer: asyncio.Future[Result] = loop.create_future()
        self._running[answer] = loop.create_task(self._follow(walk, answer)), caller
        try:
            return await answer
        except asyncio.CancelledError:
            caller.gone = True
            raise

    async def _follow(self, walk: Coroutine[Any, Any, Result], answer: "asyncio.Future[Result]") -> None:
        """Hands over what comes of a walk: `asyncio.shield` would take another turn of the event loop."""
        try:
            result = await walk
        except asyncio.CancelledError:
            answer.cancel()
            raise
        except Exception as error:
            if not answer.done():
                answer.set_exception(error)
        else:
            if not answer.done():
                answer.set_result(result)
        finally:
            del self._running[answer]

    def cut_off(self) -> None:
        """Ends the attempts that run as unconfirmed, and begins no other, now or later; each walk is still recorded."""
        self._stopping = True
        for _, caller in list(self._running.values()):
            caller.cut_off()

    async def drain(self) -> None:
        """Waits for every walk that runs. Cancelled, it cancels them."""
        while tasks := [task for task, _ in self._running.values()]:
            try:
                await asyncio.wait(tasks)
            except asyncio.CancelledError:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                raise
