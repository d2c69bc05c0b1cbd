"""Keeps second tries at the same provider to a small part of all messages."""


class RetryBudget:
    """A token bucket: each message puts `ratio` of a token in, each second try takes one out."""

    __slots__ = ("_capacity", "_ratio", "_tokens")

    def __init__(self, ratio: float = 0.1, capacity: float = 10.0) -> None:
        """`ratio` is 0 (never) to 1; the bucket begins with one token, or none at ratio 0."""
        self._ratio = ratio
        self._capacity = capacity
        self._tokens = 1.0 if ratio > 0 else 0.0

    @property
    def available(self) -> bool:
        return self._tokens >= 1.0

    def deposit(self) -> None:
        self._tokens = min(self._tokens + self._ratio, self._capacity)

    def withdraw(self) -> None:
        self._tokens -= 1.0
