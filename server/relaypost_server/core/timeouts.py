"""What a time-out proves about a provider.

A caller's deadline may end an attempt that a healthy provider would have
answered: then it proves nothing. It proves a failure where the provider had its
own time-out, or long enough by what is known of it.
"""

from typing import Final

from relaypost_server.core.outcome import Effect
from relaypost_server.core.rolling import RollingMaximum

SLOW_FACTOR: Final = 2.0
"""A provider that takes this many times as long as its slowest success of the window is not merely slow."""
TELLING_SECONDS: Final = 3.0
"""How long a provider without a success in the window must be silent before that is its failure."""


class TimeoutEvidence:
    """Remembers the slowest success of the last `window` seconds. `now` is monotonic, in seconds."""

    __slots__ = ("_slowest",)

    def __init__(self, window: float) -> None:
        self._slowest = RollingMaximum(window)

    def succeeded(self, now: float, took: float) -> None:
        """Notes a success that took so many seconds."""
        self._slowest.add(now, took)

    def effect(self, now: float, *, had: float, own: float) -> Effect:
        """FAILURE or NEUTRAL, for no answer came within `had` seconds. `own`: the provider's time-out."""
        slowest = self._slowest.highest(now)
        telling = TELLING_SECONDS if slowest is None else SLOW_FACTOR * slowest
        return Effect.FAILURE if had >= min(own, telling) else Effect.NEUTRAL
