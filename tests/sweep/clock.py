"""Time that stands still until the event loop has nothing else to do.

Every time-out, pause and lease of a gateway then takes no real time, and a run
takes the same steps on a slow machine as on a fast one.
"""

import asyncio
import selectors
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Self

EPOCH = datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC)
BUSY_SECONDS = 8.0
"""Real seconds for which a statement counts as being worked at; then it waits for a lock, and time goes on."""
GRACE_SECONDS = 0.0005
"""Real seconds that the kernel gets to hand over what is on its way, before time moves."""


class VirtualClock:
    """The only clock of a run."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.busy = 0
        """Real work under way outside the event loop: statements and threads. Time does not move meanwhile."""
        self.leap = 0.0
        """By how much time is to move as soon as nothing is under way; what was due in it happens once."""

    def monotonic(self) -> float:
        return 1000.0 + self.elapsed

    def wall(self) -> datetime:
        return EPOCH + timedelta(seconds=self.elapsed)

    def advance(self, seconds: float) -> None:
        self.elapsed += seconds


CLOCK = VirtualClock()
"""Of this process: each run has a process of its own."""
_real_monotonic = time.monotonic


class VirtualDatetime(datetime):
    """A `datetime` whose `now` is the virtual one."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return CLOCK.wall().astimezone(tz or UTC)  # type: ignore[return-value]


def install() -> None:
    """Puts the virtual clock in the place of the real one, in every module of the gateway that is loaded."""
    time.monotonic = CLOCK.monotonic
    time.time = lambda: CLOCK.wall().timestamp()
    time.time_ns = lambda: int(CLOCK.wall().timestamp() * 1e9)
    for name, module in list(sys.modules.items()):
        if name.startswith("relaypost_server") and getattr(module, "datetime", None) is datetime:
            module.datetime = VirtualDatetime  # type: ignore[attr-defined]


class StuckError(RuntimeError):
    """Nothing can happen any more."""


class _Selector(selectors.DefaultSelector):
    """Waits for real work, and moves the clock where there is none."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        limit = _real_monotonic() + BUSY_SECONDS
        while CLOCK.busy > 0 and not events and _real_monotonic() < limit:
            events = super().select(0.05)
        events = events or super().select(GRACE_SECONDS)
        if events:
            return events
        if timeout is None:
            raise StuckError("the event loop waits for something that cannot come")
        leap, CLOCK.leap = CLOCK.leap, 0.0
        CLOCK.advance(max(timeout, leap))
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time with real sockets."""

    def __init__(self) -> None:
        super().__init__(_Selector())

    def time(self) -> float:
        return CLOCK.monotonic()

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        CLOCK.busy += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(lambda _: _less_busy())
        return future


def _less_busy() -> None:
    CLOCK.busy -= 1
