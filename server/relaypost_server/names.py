"""Looks up names in threads: a resolver that is silent for one name delays that name alone."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class NameResolver(Generic[T]):
    """Asks once at a time about each name, each time in a thread of its own.

    A look-up that hangs cannot be cancelled. So it costs one thread, however many wait for its name and give up, and
    the thread is a daemon: it does not hold up the end of the process.
    """

    def __init__(self, look_up: Callable[..., T], *, purpose: str, most: int) -> None:
        """`look_up` blocks. `purpose` names the threads. `most`: look-ups at once; it bounds the threads."""
        self._look_up = look_up
        self._thread_name = f"names-{purpose}"
        self._room = asyncio.Semaphore(most)
        self._running: dict[tuple[Any, ...], asyncio.Future[T]] = {}

    async def find(self, *question: Any) -> T:
        """Calls `look_up` with these arguments, in a thread. Returns its result or raises its exception."""
        running = self._running.get(question)
        if running is None:
            running = self._running[question] = asyncio.ensure_future(self._in_thread(question))
            running.add_done_callback(partial(self._forget, question))
        return await asyncio.shield(running)

    def _forget(self, question: tuple[Any, ...], found: "asyncio.Future[T]") -> None:
        """Drops a finished look-up: current waiters share its answer, and caching is left to the resolver."""
        del self._running[question]
        if not found.cancelled():
            found.exception()  # Marks it as retrieved: every waiter may have given up.

    async def _in_thread(self, question: tuple[Any, ...]) -> T:
        loop = asyncio.get_running_loop()
        async with self._room:
            answer: asyncio.Future[T] = loop.create_future()

            def work() -> None:
                try:
                    found, error = self._look_up(*question), None
                except BaseException as failure:
                    found, error = None, failure
                with contextlib.suppress(RuntimeError):  # The loop may be closed by now.
                    loop.call_soon_threadsafe(_settle, answer, found, error)

            try:
                Thread(target=work, name=self._thread_name, daemon=True).start()
            except RuntimeError as error:
                raise OSError("the system has no thread for a name look-up") from error
            return await answer


def _settle(answer: "asyncio.Future[Any]", found: Any, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(found)
    else:
        answer.set_exception(error)
