"""Learns how many messages a server lets one connection carry.

Some servers close a connection after a number of messages: they answer the next MAIL with 421. They do not announce
the number.
"""

from typing import Final

ONE_GOES_ON_OF: Final = 20
"""One of this many connections that reach the number is kept open, to find out whether the server now takes more."""

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
        """Records that the server closed a connection with 421 after it had carried `carried` messages.

        `status` is the enhanced status code. A shutdown or an idle time-out teaches nothing.
        """
        if carried > 0 and status not in _OTHER_CAUSES:
            self._most = carried if self._most is None else min(self._most, carried)

    def took(self, number: int) -> None:
        """Records that the server took message `number`, counted from 1, on one connection.

        If that is more than the known number, the known number at least doubles: it may stem from a restart.
        """
        if self._most is not None and number > self._most:
            self._most = max(number, 2 * self._most)

    def decide_to_close(self, carried: int) -> bool:
        """Decides whether to close a connection that has carried `carried` messages.

        Each call for a connection that has reached the number counts: one of ONE_GOES_ON_OF stays open.
        """
        if self._most is None or carried < self._most:
            return False
        self._reached += 1
        return self._reached % ONE_GOES_ON_OF != 0
