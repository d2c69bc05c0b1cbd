"""Answers that are good for a while, so that a vendor is asked no more often than it likes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from relaypost_server.flow.clock import Clock

MOST_KEPT = 1000
"""Answers; beyond it all are forgotten."""

T = TypeVar("T")


@dataclass(slots=True)
class _Kept(Generic[T]):
    answer: "asyncio.Task[T]"
    asked_at: float


class Fresh(Generic[T]):
    """One question at a time for each key; whoever asks the same within `seconds` gets the same answer.

    A failure is an answer as well, good for as long: repeating it would vex the vendor.
    """

    def __init__(self, *, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self._kept: dict[str, _Kept[T]] = {}

    async def get(self, key: str, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer of `ask`, or of an earlier one. Raises what it raised."""
        now = self._clock.monotonic()
        kept = self._kept.get(key)
        if kept is None or (kept.answer.done() and now - kept.asked_at >= self._seconds):
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            kept = _Kept(asyncio.ensure_future(_ask(ask)), now)
            self._kept[key] = kept
        return await asyncio.shield(kept.answer)

    def forget(self, key: str) -> None:
        """The next one to ask gets a new answer."""
        self._kept.pop(key, None)


async def _ask(ask: Callable[[], Awaitable[T]]) -> T:
    return await ask()
