"""The calls that a gateway is answering, so that a shutdown can end each with a status of its own."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

Calls = set["asyncio.Task[Any]"]


class InFlight:
    """gRPC ends what is in flight at the end of its grace with a bare UNAVAILABLE, which says nothing."""

    def __init__(self) -> None:
        self.calls: Calls = set()
        """Those with one answer."""
        self.streams: Calls = set()
        """Those that answer until the caller leaves."""
        self.ending = False
        """Calls are cancelled by the gateway, and are to say so."""

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Around a stream of answers."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.streams.add(task)
        try:
            yield
        finally:
            self.streams.discard(task)

    def end_streams(self) -> None:
        """Streams end at once; those that begin from now on too."""
        self._end(self.streams)

    def end_calls(self) -> None:
        """The same for everything else."""
        self._end(self.calls)

    def _end(self, tasks: Calls) -> None:
        self.ending = True
        for task in tasks:
            task.cancel()
