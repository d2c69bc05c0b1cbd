"""Learns how many messages a server lets one connection carry.

Some close a connection after so many with 421, in the place of the answer to the next MAIL. None says beforehand how
many those are.
"""

from typing import Final

ONE_GOES_ON_OF: Final = 20
"""Of so many connections that reach the number, one is kept beyond it: the server may have become more generous."""

_OTHER_CAUSES: Final = ("4.3.2", "4.4.2")
"""The server shuts down, or a connection was idle for too long (RFC 3463)."""


class CarriedMessages:
    """The number of messages after which the server closed a connection; unknown at first."""

    __slots__ = ("_most", "_reached")

    def __init__(self) -> None:
        self._most: int | None = None
        self._reached = 0

    @property
    def most(self) -> int | None:
        return self._most

    def closed_after(self, carried: int, status: str = "") -> None:
        """Notes that the server closed a connection with 421 after so many messages, and took no further one.

        `status`: the enhanced status code, which may tell of another cause.
        """
        if carried > 0 and status not in _OTHER_CAUSES:
            self._most = carried if self._most is None else min(self._most, carried)

    def took(self, number: int) -> None:
        """Notes that the server took the message of this number, counted from 1, on one connection.

        A number that is too low, for the server was restarted then, is forgotten twice as fast each time.
        """
        if self._most is not None and number > self._most:
            self._most = max(number, 2 * self._most)

    def is_full(self, carried: int) -> bool:
        """Whether a connection that has carried so many is to be closed."""
        if self._most is None or carried < self._most:
            return False
        self._reached += 1
        return self._reached % ONE_GOES_ON_OF != 0
