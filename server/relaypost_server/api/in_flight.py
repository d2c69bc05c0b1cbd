"""The calls that a gateway is answering, so that a shutdown can end each with a status of its own.

At the end of its grace gRPC ends calls with a bare UNAVAILABLE, which does not tell whether the call took effect.
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
        """Whether the gateway cancels them. Otherwise a cancellation comes from the caller."""

    def end(self) -> None:
        """Cancels all of them, and those that begin from now on."""
        self.ending = True
        for task in self.tasks:
            task.cancel()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Registers the current task for the duration of a call."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.tasks.add(task)
        if self.ending:
            task.cancel()
        try:
            yield
        finally:
            self.tasks.discard(task)


class InFlight:
    """Every call of a server."""

    def __init__(self) -> None:
        self.calls = Calls()
        """Those with one answer."""
        self.streams = Calls()
        """Those that answer until the caller leaves."""
