"""How fast a provider may be sent to: a token bucket whose level all workers share."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """At most `rate` messages a second, and at most `burst` at once after a pause."""

    rate: float
    burst: float

    @classmethod
    def of(cls, rate: float) -> "Pace":
        """A pace whose burst is what a second allows, and one message at least."""
        return cls(rate=rate, burst=max(1.0, rate))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """How many messages may be sent now, and what is left in the bucket."""

    granted: int
    left: float


def take(pace: Pace, *, level: float, age: float, wanted: int) -> Grant:
    """Takes up to `wanted` tokens from a bucket that held `level` tokens `age` seconds ago."""
    full = min(pace.burst, level + max(0.0, age) * pace.rate)
    granted = max(0, min(wanted, int(full)))
    return Grant(granted=granted, left=full - granted)


def wait(pace: Pace, left: float) -> float:
    """Seconds until a bucket with so many tokens left has a whole one."""
    return max(0.0, 1.0 - left) / pace.rate
