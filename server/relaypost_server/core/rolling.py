"""What happened lately, in constant memory."""


class RollingCounts:
    """Calls and failures over the last `window` seconds, to the tenth of the window.

    Time is whatever clock the caller passes as `now`; it must not go back.
    """

    __slots__ = ("_calls", "_failures", "_slot", "_slots", "_width")

    def __init__(self, window: float, slots: int = 10) -> None:
        self._slots = slots
        self._width = window / slots
        self.clear()

    def clear(self) -> None:
        self._calls = [0] * self._slots
        self._failures = [0] * self._slots
        self._slot = 0

    def add(self, now: float, *, failed: bool) -> None:
        index = self._turn_to(now)
        self._calls[index] += 1
        self._failures[index] += failed

    def totals(self, now: float) -> tuple[int, int]:
        """Calls and failures of the last window."""
        self._turn_to(now)
        return sum(self._calls), sum(self._failures)

    def _turn_to(self, now: float) -> int:
        """Empties the slots that have left the window; the slot of `now`."""
        slot = int(now / self._width)
        if slot == self._slot:
            return slot % self._slots
        passed = min(slot - self._slot, self._slots)
        for behind in range(passed):
            index = (slot - behind) % self._slots
            self._calls[index] = self._failures[index] = 0
        self._slot = max(slot, self._slot)
        return self._slot % self._slots


class RollingMaximum:
    """The highest value of the last `window` seconds, to the tenth of the window. Time is as in `RollingCounts`."""

    __slots__ = ("_highest", "_slot", "_slots", "_width")

    def __init__(self, window: float, slots: int = 10) -> None:
        self._slots = slots
        self._width = window / slots
        self._slot = 0
        self._highest: list[float | None] = [None] * slots

    def add(self, now: float, value: float) -> None:
        index = self._turn_to(now)
        known = self._highest[index]
        if known is None or value > known:
            self._highest[index] = value

    def highest(self, now: float) -> float | None:
        """The highest value of the last window; None where there was none."""
        self._turn_to(now)
        return max((value for value in self._highest if value is not None), default=None)

    def _turn_to(self, now: float) -> int:
        """Empties the slots that have left the window; the slot of `now`."""
        slot = int(now / self._width)
        for behind in range(min(slot - self._slot, self._slots)):
            self._highest[(slot - behind) % self._slots] = None
        self._slot = max(slot, self._slot)
        return self._slot % self._slots
