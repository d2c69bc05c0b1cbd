"""The table of state transitions: which state may follow which, and why.

Every SQL statement that writes `messages.state` takes its condition from this
table (`store/sql.py`), and the tests' database raises on any other change.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from relaypost_server.core.message import MessageState as S


class Cause(StrEnum):
    """What changes the state of a message."""

    TAKE = "take"
    """A worker claims a queued message."""
    REPEAT = "repeat"
    """A request with a known request_id is sent again."""
    RESULT = "result"
    """The sender records the result of its attempts."""
    RECOVERY = "recovery"
    """The lease of a sender that died has expired."""
    RECEIPT = "receipt"
    """A provider reports on the message."""
    SECOND_COPY = "second_copy"
    """The receipts count anew, because the provider that holds the second copy has become known."""
    CANCEL = "cancel"
    """A caller cancels a queued message."""
    REQUEUE = "requeue"
    """An operator requeues a dead letter."""
    RESOLVE = "resolve"
    """An operator reports the real result of an UNCONFIRMED message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """From each of the sources the message may move to each of the targets."""

    cause: Cause
    sources: frozenset[S]
    targets: frozenset[S]
    why: str


def _rule(cause: Cause, sources: set[S], targets: set[S], why: str) -> Rule:
    return Rule(cause=cause, sources=frozenset(sources), targets=frozenset(targets), why=why)


INITIAL = frozenset({S.SENDING, S.QUEUED, S.SENT, S.UNCONFIRMED, S.REJECTED, S.FAILED})
"""States in which a message is put on record: a claim, a queued message, or the result of a send without request_id."""

_ARRIVED = {S.DELIVERED, S.BOUNCED, S.COMPLAINED}

RULES = (
    _rule(Cause.TAKE, {S.QUEUED}, {S.SENDING}, "a worker sends it"),
    _rule(Cause.TAKE, {S.UNCONFIRMED}, {S.SENDING}, "AT_LEAST_ONCE: the next provider gets a second copy"),
    _rule(Cause.REPEAT, {S.FAILED}, {S.SENDING}, "nothing was sent, so the repeated request sends it"),
    _rule(Cause.REPEAT, {S.UNCONFIRMED}, {S.SENDING}, "AT_LEAST_ONCE: the next provider gets a second copy"),
    _rule(Cause.RESULT, {S.SENDING}, {S.SENT, S.UNCONFIRMED, S.REJECTED, S.FAILED}, "the result of a send"),
    _rule(Cause.RESULT, {S.SENDING}, {S.QUEUED, S.DEAD}, "a try of a worker failed"),
    _rule(
        Cause.RESULT,
        {S.UNCONFIRMED},
        {S.SENT, S.REJECTED, S.FAILED, S.QUEUED, S.DEAD},
        "the sender was alive after all: its own result replaces the doubt of the recovery",
    ),
    _rule(
        Cause.RESULT,
        {S.FAILED},
        {S.SENT, S.UNCONFIRMED, S.REJECTED},
        "the sender was cut off from the database, and the recovery could not know that it sent",
    ),
    _rule(Cause.RESULT, {S.QUEUED}, {S.DEAD}, "a worker that lost its lease found the message expired"),
    _rule(
        Cause.RECOVERY,
        {S.SENDING},
        {S.FAILED, S.UNCONFIRMED, S.SENT, S.REJECTED},
        "the attempts on record tell the result",
    ),
    _rule(Cause.RECOVERY, {S.SENDING}, {S.QUEUED}, "its worker sent nothing: another one sends it"),
    _rule(Cause.RECOVERY, {S.SENDING}, {S.DEAD}, "its worker gave it up, and died before it recorded that"),
    _rule(
        Cause.RECEIPT,
        {S.SENDING, S.UNCONFIRMED, S.SENT},
        {S.SENT, S.DEFERRED, S.FAILED} | _ARRIVED,
        "a receipt outweighs the sender's own knowledge",
    ),
    _rule(
        Cause.RECEIPT,
        {S.FAILED, S.REJECTED, S.QUEUED, S.CANCELLED, S.DEAD},
        {S.SENT, S.DEFERRED} | _ARRIVED,
        "a provider has the message, although it answered that it does not",
    ),
    _rule(Cause.RECEIPT, {S.DEFERRED}, {S.FAILED} | _ARRIVED, "a receipt of a higher rank"),
    _rule(Cause.RECEIPT, {S.DELIVERED}, {S.BOUNCED, S.COMPLAINED}, "a late refusal, or a complaint"),
    _rule(Cause.RECEIPT, {S.BOUNCED}, {S.DELIVERED, S.COMPLAINED}, "a soft bounce is less than a delivery"),
    _rule(
        Cause.SECOND_COPY,
        {S.FAILED, S.BOUNCED},
        {S.SENT, S.DEFERRED, S.FAILED} | _ARRIVED,
        "the failure of one provider says nothing while another one holds a copy",
    ),
    _rule(
        Cause.SECOND_COPY,
        {S.SENT, S.DEFERRED},
        {S.DEFERRED, S.FAILED} | _ARRIVED,
        "no provider holds a second copy, so the failure of the first one counts",
    ),
    _rule(Cause.SECOND_COPY, {S.DELIVERED}, {S.BOUNCED, S.COMPLAINED}, "a receipt of a higher rank counts again"),
    _rule(Cause.CANCEL, {S.QUEUED, S.DEAD}, {S.CANCELLED}, "it was not sent, and no worker holds it"),
    _rule(Cause.REQUEUE, {S.DEAD}, {S.QUEUED}, "it gets new tries"),
    _rule(Cause.REQUEUE, {S.UNCONFIRMED}, {S.QUEUED}, "it was given up in doubt; the next provider gets a second copy"),
    _rule(Cause.RESOLVE, {S.UNCONFIRMED}, {S.SENT, S.FAILED}, "the operator knows"),
    _rule(Cause.RESOLVE, {S.UNCONFIRMED}, {S.QUEUED}, "it was not sent, and its queue still holds it"),
    _rule(Cause.RESOLVE, {S.UNCONFIRMED}, {S.DEAD}, "it was not sent, and it had been given up"),
)
"""The table. A state that stays as it is needs no rule."""


def _pairs(rules: tuple[Rule, ...]) -> Iterator[tuple[S, S]]:
    for rule in rules:
        for source in rule.sources:
            yield from ((source, target) for target in rule.targets if target is not source)


BY_CAUSE = {cause: frozenset(_pairs(tuple(r for r in RULES if r.cause is cause))) for cause in Cause}
"""The pairs of states that each cause allows."""
LEGAL = frozenset(_pairs(RULES))
"""The pairs of states that some cause allows."""


def is_legal(source: S, target: S, cause: Cause) -> bool:
    """Whether the cause may move a message from one state to the other, or leaves it as it is."""
    return source is target or (source, target) in BY_CAUSE[cause]
