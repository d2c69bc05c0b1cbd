"""Messages that may have been sent, and providers that can be asked about them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from relaypost_server.core.delivery import DeliveryEvent

EARLY, LATE = timedelta(seconds=10), timedelta(seconds=60)
"""How far a provider's clock may be off: before the attempt began, and after it ended."""


class LookUpError(Exception):
    """The provider could not be asked, or gave no answer that can be read. The text is safe to show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """An attempt whose answer was lost."""

    message_id: str
    provider: str
    recipient: str = field(repr=False)
    """The first one."""
    sender: str
    start_time: datetime
    duration: float
    """Seconds."""
    rivals: int
    """Other messages to the recipient whose answers were lost at the same time."""
    known: frozenset[str] = frozenset()
    """The provider's ids of other messages to the recipient."""

    def covers(self, moment: datetime) -> bool:
        """Whether the provider may have taken the message then."""
        return self.start_time - EARLY <= moment <= self.start_time + timedelta(seconds=self.duration) + LATE


@runtime_checkable
class Answering(Protocol):
    """The third talent of some providers: they can be asked what became of a message."""

    name: str
    looks_up: bool
    """Whether it is set up to be asked."""
    by_our_id: bool
    """Whether it finds messages by the gateway's ids, so that what it finds is certain."""
    look_up_pause: float
    """Seconds to leave between two questions."""

    async def look_up(self, doubt: Doubt) -> Sequence[DeliveryEvent]:
        """What may have become of the message: an event for each message that may be it. Raises LookUpError."""
        ...


def settled_by(doubt: Doubt, found: Sequence[DeliveryEvent], *, by_our_id: bool) -> Sequence[DeliveryEvent]:
    """The events that are certainly about the message; none in any doubt.

    That nothing was found settles nothing: a provider's list may be behind.
    """
    if by_our_id:
        return found
    candidates = [e for e in found if e.provider_message_id not in doubt.known]
    return candidates if len(candidates) == 1 and not doubt.rivals else []
