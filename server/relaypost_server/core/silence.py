"""Failover on silence: a message that a provider took, and that nobody heard of again, goes out once more by another.

Decided from what is known of the message; at most one more submission ever
follows, whoever decides, because it is claimed in the log first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from relaypost_server.core.delivery import UNDELIVERED, Blame, DeliveryEvent, EventType
from relaypost_server.core.failover import Attempt, SkipReason
from relaypost_server.core.message import Content, Email, Guarantee, Message, MessageState, Sms
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.record import MessageRecord

SHORTEST, LONGEST = 5.0, 600.0
"""Seconds that a caller may wait for a confirmation."""
AGAIN = "sent again, for nothing confirmed the first send"
"""Begins the detail of the attempt."""
ARRIVED = frozenset(
    [EventType.DELIVERED, EventType.COMPLAINED, EventType.OPENED, EventType.CLICKED, EventType.UNSUBSCRIBED]
)
"""Events that prove that the recipient has the message."""
TELLING = ARRIVED | UNDELIVERED
"""Events that tell whether it arrived."""
_OVERHEAD = 2000
"""Bytes that a message takes up beside its text."""
_MAY_HAVE_IT = (Kind.ACCEPTED, Kind.UNCONFIRMED)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtpSend:
    """The message that carried a code, by the number of its send."""

    otp_id: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """What a caller asks for: `within` so many seconds a confirmation, or a second provider."""

    within: float
    otp: OtpSend | None = None
    """The code that the message carries: that it was verified confirms the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What the log knows of a message that is waited for."""

    events: tuple[DeliveryEvent, ...] = ()
    """Receipts that say whether it arrived."""
    verified: bool = False
    """Somebody typed the code that it carried."""
    moot: bool = False
    """Its code is over, or travels in a later message, or it has been sent again already."""


class Step(Enum):
    """What follows from the news."""

    WAIT = "wait"
    CONFIRMED = "confirmed"
    SEND_AGAIN = "send_again"
    GIVE_UP = "give_up"
    """Another copy would help nobody."""


def decide(news: News | None, *, overdue: bool) -> Step:
    """What to do about a message that is waited for. `news`: None where the log knows nothing of it yet.

    A receipt that blames the provider's route is reason enough at once; one
    that blames the recipient means that no other provider would fare better.
    """
    if news is not None:
        if news.verified or any(e.type in ARRIVED for e in news.events):
            return Step.CONFIRMED
        blamed = {e.blame for e in news.events}
        if news.moot or Blame.RECIPIENT in blamed:
            return Step.GIVE_UP
        if Blame.ROUTE in blamed:
            return Step.SEND_AGAIN
    return Step.SEND_AGAIN if overdue else Step.WAIT


def still_untouched(providers: Sequence[str], attempts: Sequence[Attempt]) -> tuple[str, ...]:
    """Those of the providers that certainly do not have the message."""
    have = {a.provider for a in attempts if a.kind in _MAY_HAVE_IT}
    return tuple(p for p in providers if p not in have)


def before_the_walk(record: MessageRecord) -> tuple[Attempt, ...]:
    """The attempts with which the second walk begins: who may have the message is passed over."""
    return tuple(
        replace(
            attempt,
            outcome=Outcome(kind=Kind.SKIPPED, detail=SkipReason.HAS_IT.value),
            skipped=SkipReason.HAS_IT,
        )
        for attempt in record.attempts
        if attempt.kind in _MAY_HAVE_IT
    )


def second_copy(message: Message[Content], *, age: float) -> Message[Content]:
    """What the second walk carries, `age` seconds later: a doubtful attempt ends it, for two copies are enough."""
    content = message.content
    if isinstance(content, Sms) and content.validity is not None:
        content = replace(content, validity=max(1.0, content.validity - age))
    return replace(message, content=content, guarantee=Guarantee.AT_MOST_ONCE)


def explained(attempt: Attempt) -> Attempt:
    """The attempt of a second walk, with the reason for it in its detail."""
    if attempt.skipped is not None:
        return attempt
    said = attempt.outcome.detail
    return replace(attempt, outcome=replace(attempt.outcome, detail=f"{AGAIN}: {said}" if said else AGAIN))


def went_out(attempts: Sequence[Attempt]) -> bool:
    """Whether a provider has the second copy, or may have it."""
    return any(a.kind in _MAY_HAVE_IT for a in attempts)


def may_be_followed(record: MessageRecord) -> bool:
    """Whether a provider is known to have taken the message, so that a confirmation can be waited for."""
    return record.state is MessageState.SENT and record.provider != ""


def weight(message: Message[Email] | Message[Sms]) -> int:
    """The bytes of memory that the message takes up while it waits; at least."""
    content = message.content
    if isinstance(content, Sms):
        return _OVERHEAD + 2 * len(content.text)
    words = len(content.subject) + len(content.text) + len(content.html)
    return _OVERHEAD + 2 * words + sum(len(a.content) for a in content.attachments)
