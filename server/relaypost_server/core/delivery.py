"""What providers report about a message after they took it: events, and the state that they add up to.

A provider's "accepted" is not "delivered". Its receipts come late, twice, and
in any order; the state they add up to depends on none of that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any

from relaypost_server.core.message import MessageState
from relaypost_server.core.outcome import CODE_LIMIT, DETAIL_LIMIT, PROVIDER_ID_LIMIT
from relaypost_server.core.redaction import printable, safe_text
from relaypost_server.core.suppression import SuppressionReason

EVENT_ID_LIMIT = 255


class EventType(StrEnum):
    """What happened to a message, in the same words for every provider."""

    SENT = "sent"
    """The provider took it, and is about to hand it on."""
    DELIVERED = "delivered"
    """The recipient's server or carrier took it."""
    DEFERRED = "deferred"
    """The provider could not hand it on yet, and goes on trying."""
    BOUNCED = "bounced"
    """The recipient's server or carrier refused it."""
    COMPLAINED = "complained"
    """The recipient called it spam."""
    FAILED = "failed"
    """The provider gave it up without handing it on."""
    OPENED = "opened"
    CLICKED = "clicked"
    UNSUBSCRIBED = "unsubscribed"
    OTHER = "other"


class RejectReason(StrEnum):
    """Why a message did not arrive."""

    INVALID = "invalid"
    """There is no such address or number."""
    BOUNCED = "bounced"
    """The address or number takes no messages, or did not before."""
    TIMED_OUT = "timed_out"
    BLOCKED = "blocked"
    """A filter, a policy or a missing registration is in the way."""
    SPAM = "spam"
    UNSUBSCRIBED = "unsubscribed"
    """The recipient asked for no more messages."""
    OTHER = "other"


class Blame(Enum):
    """Whose fault it is that a message did not arrive."""

    ROUTE = "route"
    """The provider's, or that of its carriers: another provider may fare better."""
    RECIPIENT = "recipient"
    """The address's or the message's: it would be so with every provider."""
    NOBODY = "nobody"
    """A phone that is off, or a mailbox that is full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryEvent:
    """One receipt of a provider.

    What the provider said is made safe to show here, in the one place that
    every receipt passes.
    """

    provider: str
    event_id: str
    """The provider's own, or what stands for it: the same event has the same id, however often it is reported."""
    message_id: str
    """The gateway's."""
    provider_message_id: str = ""
    type: EventType
    time: datetime
    """By the provider's clock, where it tells the time."""
    reject_reason: RejectReason | None = None
    permanent: bool = True
    """BOUNCED only: a later message would fare no better."""
    provider_code: str = ""
    detail: str = ""
    alert: bool = False
    """The gateway's own set-up is at fault, and an operator should know."""
    recipients: tuple[str, ...] = field(default=(), repr=False)
    """Whom it is about, as addresses are compared; read from the log: those of the message, as the message has them."""
    suppression: SuppressionReason | None = None
    """Why these recipients are to get no more messages; None: the event does not say so."""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What the provider reported, without text, subject and links of the message."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "event_id", printable(self.event_id, limit=EVENT_ID_LIMIT))
        object.__setattr__(self, "detail", safe_text(self.detail, limit=DETAIL_LIMIT))
        object.__setattr__(self, "provider_code", printable(self.provider_code, limit=CODE_LIMIT))
        object.__setattr__(self, "provider_message_id", printable(self.provider_message_id, limit=PROVIDER_ID_LIMIT))

    @property
    def rank(self) -> int:
        """How much the event says about the message; 0: nothing about its state."""
        if self.type is EventType.BOUNCED and not self.permanent:
            return _RANK_OF_SOFT_BOUNCE
        return _RANKS.get(self.type, 0)

    @property
    def state(self) -> MessageState | None:
        """The state that the event alone would put the message in."""
        return _STATES.get(self.type)

    @property
    def blame(self) -> Blame | None:
        """Whose fault it is that the message did not arrive; None where the event does not say that."""
        return blame(self.type, self.reject_reason, permanent=self.permanent)


def blame(kind: EventType, reason: RejectReason | None, *, permanent: bool) -> Blame | None:
    """Whose fault it is; None where such an event does not say that a message did not arrive.

    In doubt it is not the provider's: a bad address must never bench a healthy provider.
    """
    if kind not in UNDELIVERED:
        return None
    if reason is RejectReason.TIMED_OUT:
        return Blame.NOBODY
    if reason in _RECIPIENTS_REASONS or (kind is EventType.BOUNCED and permanent):
        return Blame.RECIPIENT
    return Blame.ROUTE


UNDELIVERED = frozenset([EventType.FAILED, EventType.BOUNCED])
_RECIPIENTS_REASONS = frozenset(
    [RejectReason.INVALID, RejectReason.BOUNCED, RejectReason.UNSUBSCRIBED, RejectReason.SPAM]
)
_RANKS = {
    EventType.SENT: 10,
    EventType.DEFERRED: 20,
    EventType.FAILED: 30,
    EventType.DELIVERED: 50,
    EventType.BOUNCED: 60,
    EventType.COMPLAINED: 70,
}
"""Higher ranks outweigh lower ones. A bounce may follow a delivery, for some servers refuse late; where another
provider or recipient got the message, its delivery outweighs that one provider gave up."""
_RANK_OF_SOFT_BOUNCE = 40
"""Below a delivery: automatic replies of absent recipients are reported as soft bounces."""
_STATES = {
    EventType.SENT: MessageState.SENT,
    EventType.DEFERRED: MessageState.DEFERRED,
    EventType.FAILED: MessageState.FAILED,
    EventType.DELIVERED: MessageState.DELIVERED,
    EventType.BOUNCED: MessageState.BOUNCED,
    EventType.COMPLAINED: MessageState.COMPLAINED,
}
FINAL_STATES = frozenset(
    [
        MessageState.DELIVERED,
        MessageState.BOUNCED,
        MessageState.COMPLAINED,
        MessageState.REJECTED,
        MessageState.FAILED,
        MessageState.CANCELLED,
        MessageState.DEAD,
    ]
)
"""States after which no news is waited for; a bounce or a complaint may still outweigh a delivery."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the receipts of one message add up to."""

    state: MessageState
    rank: int
    time: datetime
    """When the event happened that decided the state, by the provider's clock."""


def fold(
    events: Iterable[DeliveryEvent], standing: Standing | None = None, *, sent_again_by: str = ""
) -> Standing | None:
    """What the events add up to, on top of an earlier standing; None where they say nothing about the state.

    The highest rank decides, and of equals the earliest: whatever the order of
    the events, and however often each is given, the result is the same.
    `sent_again_by`: who carries a second copy; that others failed says nothing then.
    """
    for event in events:
        state = event.state
        if state is None or (event.type in UNDELIVERED and sent_again_by not in ("", event.provider)):
            continue
        if standing is None or (event.rank, standing.time) > (standing.rank, event.time):
            standing = Standing(state=state, rank=event.rank, time=event.time)
    return standing
