"""Decides what follows from an attempt to deliver a webhook."""

from collections.abc import Sequence
from dataclasses import dataclass

from relaypost_server.core.webhook import ClaimedDelivery, DeliveryState

SUGGESTED_DELAYS = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Seconds between attempts: the specification's example, ten attempts over three days."""
LONGEST_RETRY_AFTER = 86_400.0
"""Seconds. An endpoint that asks for more is asked again after these: it can only hurt itself."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds for which an endpoint is left alone that has just failed, and that fails again and again."""
GONE = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How an attempt ended."""

    status: int = 0
    """The HTTP status; 0: there was no answer."""
    detail: str = ""
    """Why it failed, for people; without addresses and without the endpoint's own words."""
    retry_after: float | None = None
    """Seconds that the endpoint asked for."""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What follows for the delivery, and for its endpoint."""

    delivery: ClaimedDelivery
    answer: Answer
    state: DeliveryState
    delay: float = 0.0
    """PENDING only: seconds until the next attempt."""
    pause: float = 0.0
    """Seconds for which the endpoint gets nothing else either."""

    @property
    def gone(self) -> bool:
        """The endpoint wants no more events."""
        return self.answer.status == GONE


def settle(delivery: ClaimedDelivery, answer: Answer, delays: Sequence[float], chance: float) -> Settlement:
    """`chance` is drawn evenly from 0 to 1: the delay has full jitter.

    Without it everything that failed while an endpoint was down would come back to it at one moment.
    """
    if answer.ok:
        return Settlement(delivery=delivery, answer=answer, state=DeliveryState.DELIVERED)
    asked = min(answer.retry_after or 0.0, LONGEST_RETRY_AFTER)
    pause = max(asked, min(FIRST_PAUSE * 2 ** min(delivery.failures, 10), LONGEST_PAUSE))
    if answer.status == GONE or delivery.attempt > len(delays):
        return Settlement(delivery=delivery, answer=answer, state=DeliveryState.DEAD, pause=pause)
    delay = max(asked, delays[delivery.attempt - 1] * chance)
    return Settlement(delivery=delivery, answer=answer, state=DeliveryState.PENDING, delay=delay, pause=pause)
