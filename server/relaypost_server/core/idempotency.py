"""Requests that may be repeated safely: what a repeated request is answered with.

A caller names a request by its `request_id`. The first request with a name
claims it, and holds the claim by a lease that a gateway which died cannot renew.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.failover import Attempt, Ending, Verdict, judge
from relaypost_server.core.message import Email, Guarantee, MessageState, Sms
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.record import MessageRecord

LOST = "the gateway ended before the provider's answer was on record"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKey:
    """Names a request: unique within one caller and one method."""

    caller: str
    method: str
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The wish to be the one that sends."""

    key: RequestKey
    fingerprint: str
    record: MessageRecord
    first_provider: str
    """Who is asked first, if the claim is granted; "" where nobody can be asked now."""
    sent_anyway: bool = False
    """The message is sent even if the log does not answer: what becomes of a claim in doubt is recorded after that."""
    fingerprint_of_0_1: Callable[[], str] | None = field(default=None, compare=False)
    """Calculates the fingerprint that release 0.1 stored for this request: needed only where a stored one differs."""

    def matches(self, stored: str) -> bool:
        """Whether a stored fingerprint is of this request, by whichever release it was stored."""
        earlier = self.fingerprint_of_0_1
        return stored == self.fingerprint or (earlier is not None and stored == earlier())


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """An attempt that is known to have been started, and of which nothing else is known."""

    provider: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRequest:
    """What the database knows of an earlier request with the same key."""

    fingerprint: str
    fence: int
    """Grows with each claim: whoever holds a lower one has lost the request."""
    running: bool
    """Its lease has not ended."""
    kept: bool
    """Its answer is final."""
    proven: bool = False
    """A provider's receipt has told what became of it."""
    started: Started | None
    record: MessageRecord
    waiting: bool = False
    """The queue holds the message: another worker sends it if it was not sent."""
    dead: bool = False
    """The queue has given the message up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """The claim is granted: send. The record holds the attempts of earlier walks."""

    fence: int
    record: MessageRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """It was answered before: answer the same."""

    record: MessageRecord


@dataclass(frozen=True, slots=True)
class InProgress:
    """Somebody is at it."""


@dataclass(frozen=True, slots=True)
class Reused:
    """The name belongs to a request with other content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """An earlier walk ended without a final answer: walk on from the record."""

    record: MessageRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """A message as its caller asked for it, where the gateway fills in a template or the sender."""

    content: Email | Sms
    """Without the texts of a template, and without a sender that the caller did not name."""
    template: str = ""
    locale: str = ""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    encoding: str = ""
    """How a text message is to be encoded; "" for as it is."""


def fingerprint(
    content: Email | Sms | Requested,
    guarantee: Guarantee,
    metadata: Mapping[str, str],
    confirm_within: float | None = None,
) -> str:
    """The SHA-256 of what a request asks for, in hexadecimal digits.

    It must not depend on what this gateway adds, for another one may add something else: see `Requested`.
    Taken over the normalised fields: neither the order of a map nor the bytes
    on the wire matter. Empty fields are left out, so that a field that a later
    version adds changes no fingerprint of a request that does not use it.
    """
    asked = [content, guarantee, metadata] if confirm_within is None else [content, guarantee, metadata, confirm_within]
    return sha256(json.dumps(asked, default=_plain, sort_keys=True).encode()).hexdigest()


def fingerprint_of_0_1(
    content: Email | Sms, guarantee: Guarantee, metadata: Mapping[str, str], confirm_within: float | None = None
) -> str:
    """As release 0.1 calculated it: over the message that the gateway made, with headers' names as they were written.

    Requests of that release are repeated during and after an update.
    """
    asked = [content, guarantee, metadata] if confirm_within is None else [content, guarantee, metadata, confirm_within]
    return sha256(json.dumps(asked, default=_as_0_1_had_it, sort_keys=True).encode()).hexdigest()


def _as_0_1_had_it(value: Any) -> Any:
    """Without what the gateway itself says of tracking, where the template is secret: that release did not know it."""
    known = _as_it_is(value)
    if isinstance(value, Email):
        known.pop("tracking", None)
    return known


def _plain(value: Any) -> Any:
    if isinstance(value, Email) and value.headers:  # RFC 5322: the case of a header's name means nothing.
        value = replace(value, headers={name.lower(): line for name, line in value.headers.items()})
    return _as_it_is(value)


def _as_it_is(value: Any) -> Any:
    if isinstance(value, bytes):
        return sha256(value).hexdigest()
    return {name: given for name in value.__slots__ if (given := getattr(value, name))}


def reconsider(known: KnownRequest, asked: str, now: datetime) -> Replay | InProgress | Reused | Resume:
    """What a request with the fingerprint `asked` is answered with, given an earlier one of the same name."""
    if known.fingerprint != asked:
        return Reused()
    if known.running:
        return InProgress()
    if known.kept:
        return Replay(record=known.record)
    settled = settle(known, now)
    return Replay(record=settled) if is_kept(settled, cut_short=True) else Resume(record=settled)


def settle(known: KnownRequest, now: datetime) -> MessageRecord:
    """The record of a request whose gateway died: what was started and has no outcome may have been sent.

    A provider's receipt knows better: where there is one, the state is left as it is. A queued message that was
    not sent goes back to the queue at once: it is never FAILED, because FAILED ends streams and fires webhooks.
    """
    attempts = known.record.attempts
    if known.started is not None:
        lost = Attempt(
            provider=known.started.provider,
            outcome=Outcome(kind=Kind.UNCONFIRMED, detail=LOST),
            circuit=CircuitState.CLOSED,
            start_time=known.started.time,
        )
        attempts = (*attempts, lost)
    verdict = judge(attempts)
    return replace(
        known.record,
        attempts=attempts,
        state=known.record.state if known.proven else _state_after_death(known, verdict.state),
        possible_duplicate=verdict.possible_duplicate,
        update_time=now,
    )


def _state_after_death(known: KnownRequest, judged: MessageState) -> MessageState:
    if judged is MessageState.FAILED and known.dead:
        return MessageState.DEAD
    if judged is MessageState.FAILED and known.waiting:
        return MessageState.QUEUED
    return judged


def is_kept(record: MessageRecord, *, cut_short: bool) -> bool:
    """Whether the record is the final answer to its request.

    A message that was certainly not sent may be tried again. `cut_short` means
    that the walk did not come to its own end: where a second copy is allowed,
    a repeated request then goes on with the providers that were not asked.
    """
    if record.state is MessageState.UNCONFIRMED:
        return not cut_short or record.guarantee is Guarantee.AT_MOST_ONCE
    return record.state not in _NOT_SENT


_NOT_SENT = (MessageState.FAILED, MessageState.SENDING, MessageState.QUEUED, MessageState.DEAD)


def verdict_on(record: MessageRecord) -> Verdict:
    """The verdict with which an earlier request is answered again."""
    verdict = judge(record.attempts)
    if verdict.state is record.state:
        return verdict
    if record.state is MessageState.REJECTED:  # Whom a provider blamed is not kept with its attempt.
        return Verdict(ending=Ending.REJECTED)
    # A receipt has told more than the attempts did: a provider took it.
    return Verdict(ending=Ending.SENT, possible_duplicate=record.possible_duplicate)


def still_in_doubt(record: MessageRecord) -> tuple[Attempt, ...]:
    """The attempts of earlier walks that may have sent the message: their providers are never asked again."""
    return tuple(a for a in record.attempts if a.kind is Kind.UNCONFIRMED)
