"""A limit for what is done a thousand times a second and hardly ever takes too long."""

import asyncio
from collections.abc import Callable


class TimeLimit:
    """Calls back where something takes longer than it may.

    To set a timer of uvloop and cancel it takes 2 us, some forty times what reading
    its clock takes. Here one timer runs on, from one use of the limit to the next,
    and only when it goes off is it seen how much time is left.
    """

    def __init__(self, on_over: Callable[[], None]) -> None:
        """For the loop that runs. `on_over` is called within it, once for each `start` that no `stop` followed."""
        self._on_over = on_over
        self._loop = asyncio.get_running_loop()
        self._end: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._goes_off = 0.0

    def start(self, seconds: float) -> None:
        """What begins now may take so long; an earlier limit is forgotten."""
        self._end = end = self._loop.time() + seconds
        if self._timer is None or end < self._goes_off:
            self._set(end)

    def stop(self) -> None:
        """It came to its end."""
        self._end = None

    def close(self) -> None:
        """Stops the timer as well, which keeps hold of whoever is called back."""
        self._end = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._goes_off = moment
        self._timer = self._loop.call_at(moment, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._end is None:
            return
        if self._loop.time() < self._end:
            self._set(self._end)
            return
        self._end = None
        self._on_over()
