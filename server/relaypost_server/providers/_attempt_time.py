"""The time that one attempt has, and the part of it that is kept for the answer.

A request that is written with no time left for the answer makes a duplicate:
the provider sends the message, and the gateway asks the next one.
"""

import time
from typing import Final

from relaypost_server.core.outcome import Kind, Outcome

SHORTEST_ANSWER: Final = 0.5
"""Seconds that an answer gets at least, or half of an attempt that is shorter than twice this."""
TOO_LATE: Final = "too little time left to send"


class AttemptTime:
    """Counts down the `timeout` seconds of an attempt that begins now."""

    __slots__ = ("_end", "_last_write", "_timeout", "_waited")

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._end = time.monotonic() + timeout
        self._last_write = self._end - min(SHORTEST_ANSWER, timeout / 2)
        self._waited = 0.0

    @property
    def left_to_write(self) -> float:
        """Seconds in which the request must be written; 0 or less where it is too late for that."""
        return self._last_write - time.monotonic()

    def left_for_answer(self) -> float | None:
        """Seconds until the attempt ends; None where the request must not be written any more."""
        now = time.monotonic()
        return self._end - now if now <= self._last_write else None

    def waited(self, since: float) -> None:
        """Takes the seconds since that monotonic time off what the provider had: the gateway used them up itself."""
        self._waited += time.monotonic() - since

    def over(self, kind: Kind, detail: str) -> Outcome:
        """The outcome of an attempt whose time is over."""
        return Outcome(kind=kind, detail=detail, given_up_after=max(0.0, self._timeout - self._waited))

    def too_late(self, why: str = "") -> Outcome:
        """The outcome of an attempt that wrote nothing, for the answer would have had too little time."""
        return self.over(Kind.UNREACHABLE, f"{TOO_LATE} ({why})" if why else TOO_LATE)


def no_room(what: str, seconds: float) -> Outcome:
    """The outcome of an attempt that got no connection or thread of the gateway in time: SKIPPED, nothing was sent."""
    return Outcome(kind=Kind.SKIPPED, detail=f"{what} within {max(0.0, seconds):.1f} s")
