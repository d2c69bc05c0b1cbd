"""What the suppression list does with a message: some of its recipients are left out, or all of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Generic

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.failover import SUPPRESSION_LIST, Attempt, Delivery
from relaypost_server.core.message import Content, Message
from relaypost_server.core.outcome import Kind, Outcome, RefusedRecipient
from relaypost_server.core.suppression import SuppressionReason

CODE = "SUPPRESSED"
"""Beside every recipient that the list refuses, where a provider's code stands else."""
_MAY_HAVE_SENT = (Kind.ACCEPTED, Kind.UNCONFIRMED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening(Generic[Content]):
    """A message of which at least one recipient is suppressed."""

    message: Message[Content]
    suppressed: Mapping[str, SuppressionReason]

    @property
    def refused(self) -> tuple[RefusedRecipient, ...]:
        """The recipients that are left out, as a provider's refusals are told."""
        return tuple(RefusedRecipient(address=a, provider_code=CODE, temporary=False) for a in self.suppressed)

    @property
    def rest(self) -> Message[Content] | None:
        """The message for those who may have it; None where nobody may."""
        left = [r for r in self.message.content.recipients if r not in self.suppressed]
        return self.message.only_to(left) if left else None

    def refusal(self, now: datetime) -> Attempt:
        """What stands on record instead of attempts where nobody may have the message."""
        reasons = ", ".join(sorted({r.value for r in self.suppressed.values()}))
        outcome = Outcome(
            kind=Kind.REJECTED,
            provider_code=CODE,
            detail=f"every recipient is suppressed: {reasons}",
            refused=self.refused,
        )
        return Attempt(provider=SUPPRESSION_LIST, outcome=outcome, circuit=CircuitState.CLOSED, start_time=now)

    def marked(self, delivery: Delivery) -> Delivery:
        """The delivery of the rest, in which those who were left out are told as refused."""
        return replace(delivery, attempts=tuple(self._marked(a) for a in delivery.attempts))

    def _marked(self, attempt: Attempt) -> Attempt:
        if attempt.kind not in _MAY_HAVE_SENT:
            return attempt
        told: Outcome = attempt.outcome
        return replace(attempt, outcome=replace(told, refused=(*told.refused, *self.refused)))
