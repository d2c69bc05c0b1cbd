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

    async def run(self, walk: Coroutine[Any, Any, Result], caller: Caller) -> Result:
        """What comes of the walk. A caller who goes away is marked as gone, and the walk goes on."""
        loop = asyncio.get_running_loop()
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

    async def drain(self, *, seconds: float) -> None:
        """Lets the attempts that run end within `seconds`, and cuts off the others."""
        if not self._running:
            return
        tasks = []
        for task, caller in self._running.values():
            caller.gone = True
            tasks.append(task)
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
