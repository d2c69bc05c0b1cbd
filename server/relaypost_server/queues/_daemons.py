"""Threads for calls that block."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Daemons:
    """A bounded number of threads, which do not hold up the end of the process as those of an executor do."""

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)

    async def run(self, call: Callable[[], T], *, seconds: float) -> T:
        """What the call returned. Raises what it raised; TimeoutError after `seconds`, and the call goes on alone."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()

        def settle(value: T | None, error: BaseException | None) -> None:
            self._free.release()
            if result.done():  # Nobody waits any more.
                return
            if error is not None:
                result.set_exception(error)
            else:
                result.set_result(value)  # type: ignore[arg-type]

        def work() -> None:
            value, error = None, None
            try:
                value = call()
            except BaseException as raised:
                error = raised
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                loop.call_soon_threadsafe(settle, value, error)

        async with asyncio.timeout(seconds):
            await self._free.acquire()
            try:
                threading.Thread(target=work, daemon=True, name="relaypost-queue").start()
            except RuntimeError:  # The system has no thread to give.
                self._free.release()
                raise
            return await result
