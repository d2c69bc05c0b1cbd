"""How often something may happen, against abuse. What has happened is counted in the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PREFIX_DIGITS = 7
"""Of a phone number: the block that a fraudster rents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most so often within any `seconds`; 0 means: without a limit."""

    most: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One more event that is to be counted under a limit."""

    limit: str
    key: str
    """Whose events are counted together."""
    rate: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A limit that is reached, and after how many seconds it lets one through again."""

    limit: str
    retry_after: float


class LimitReachedError(Exception):
    """At least one limit is reached; nothing was counted."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__(", ".join(r.limit for r in refusals))
        self.refusals = tuple(refusals)

    @property
    def retry_after(self) -> float:
        """Seconds until none of the limits refuses."""
        return max(r.retry_after for r in self.refusals)


def prefix_of(number: str) -> str:
    """The first digits of a number in E.164, without the "+"."""
    return number.removeprefix("+")[:PREFIX_DIGITS]


def charges(events: Mapping[str, str], rates: Mapping[str, Rate]) -> tuple[Charge, ...]:
    """What is to be counted: each limit that is on, for the keys that are known."""
    return tuple(
        Charge(limit=limit, key=key, rate=rates[limit]) for limit, key in events.items() if key and rates[limit].most
    )
