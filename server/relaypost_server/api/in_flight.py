"""The calls that a gateway is answering, so that a shutdown can end each with a status of its own.

gRPC ends what is in flight at the end of its grace with a bare UNAVAILABLE, which tells a caller nothing.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast


class Calls:
    """Calls of one kind, by the tasks that answer them."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self.ending = False
        """The gateway cancels them: it is not their callers who went away."""

    def end(self) -> None:
        """Cancels all of them, and those that begin from now on."""
        self.ending = True
        for task in self.tasks:
            task.cancel()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Around a call."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.tasks.add(task)
        if self.ending:
            task.cancel()
        try:
            yield
        finally:
            self.tasks.discard(task)


class InFlight:
    """Every call."""

    def __init__(self) -> None:
        self.calls = Calls()
        """Those with one answer."""
        self.streams = Calls()
        """Those that answer until the caller leaves."""
