"""Background tasks: their declaration, the backoff after a failure, and the health of each."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

FAILING_ROUNDS = 3
"""Rounds that fail one after the other make a task count as failing: one alone may be chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Work that is done in rounds, for as long as the gateway runs."""

    name: str
    """Unique within a gateway; it labels the metric, so it holds lower-case letters, digits and underscores only."""
    round: Callable[[], Awaitable[float | None]]
    """One round. Returns the seconds until the next one, or None for the usual `pause`."""
    pause: float = 0.0
    """Seconds between two rounds. 0 is for rounds that wait for something themselves."""
    first: float = 0.0
    """Seconds before the first round."""


class Running(Protocol):
    """A task that has been started."""

    async def stop(self, *, grace: float = 0.0) -> None:
        """Begins no other round, and lets the present one run for at most `grace` seconds."""
        ...


class Supervisor(Protocol):
    """Runs tasks, and repeats rounds that fail."""

    def start(self, task: Task) -> Running:
        """Runs the task until it is stopped."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskHealth:
    """The health of one background task."""

    name: str
    failures: int = 0
    """Rounds that failed since the last one that did not."""
    failing_since: datetime | None = None
    """When the first of them failed."""
    incident_id: str = ""
    """Under which the log has the last failure, also after the task has recovered."""

    @property
    def failing(self) -> bool:
        return self.failures >= FAILING_ROUNDS


def backoff(failures: int, *, shortest: float, longest: float) -> float:
    """Seconds before the round that follows so many failures: doubled each time, within the two bounds."""
    doublings = min(failures - 1, 32)  # Beyond it every sensible bound is reached.
    return float(min(longest, shortest * 2**doublings))
