"""Walks a chain of providers: what to do next, given what has happened so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from relaypost_server.core.breaker import CircuitState, Refusal, RefusalReason
from relaypost_server.core.message import Content, Guarantee, Message, MessageState
from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind, Next, Outcome
from relaypost_server.core.value import value

SUPPRESSION_LIST = "suppression_list"
"""In the place of a provider: the gateway's own list refused every recipient, and nobody was asked."""
TRY_AGAIN_SECONDS = 1.0
"""What a caller is told to wait where no provider named a time."""


class SkipReason(StrEnum):
    """Why a provider was passed over."""

    CIRCUIT_OPEN = "circuit open"
    PROBING = "circuit half-open, another message is the probe"
    COOLING = "cooling down after a throttle"
    NO_TIME = "too little time left"
    OVER_BUDGET = "the provider's budget of the month is used up"
    CALLER_OVER_BUDGET = "the caller's budget of the month is used up"
    NOT_ON_RECORD = "the attempt could not be put on record first"
    TAKEN_OVER = "another gateway took the request over"
    HAS_IT = "took the message before"
    NO_ROOM = "no free connection or thread in the gateway"
    SHUTTING_DOWN = "the gateway is shutting down"


_LAST_SKIPS = frozenset(
    {SkipReason.CALLER_OVER_BUDGET, SkipReason.NOT_ON_RECORD, SkipReason.TAKEN_OVER, SkipReason.SHUTTING_DOWN}
)
"""Reasons that hold for every other provider as well."""

_SKIPS = {
    RefusalReason.OPEN: SkipReason.CIRCUIT_OPEN,
    RefusalReason.PROBING: SkipReason.PROBING,
    RefusalReason.COOLING: SkipReason.COOLING,
    RefusalReason.BUDGET: SkipReason.OVER_BUDGET,
}


@value(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at one provider, or one decision not to try."""

    provider: str
    outcome: Outcome
    skipped: SkipReason | None = None
    circuit: CircuitState
    """The state of the provider's circuit when the attempt began."""
    start_time: datetime
    duration: float = 0.0
    """Seconds."""

    @property
    def kind(self) -> Kind:
        return self.outcome.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A provider's place in the chain and the longest that one attempt may take, in seconds."""

    provider: str
    timeout: float


class Ending(StrEnum):
    """How a walk of the chain ended."""

    SENT = "sent"
    UNCONFIRMED = "unconfirmed"
    REJECTED = "rejected"
    SUPPRESSED = "suppressed"
    DEADLINE = "deadline"
    EXHAUSTED = "exhausted"
    NOT_ON_RECORD = "not_on_record"
    OVER_BUDGET = "over_budget"


_STATES = {
    Ending.SENT: MessageState.SENT,
    Ending.UNCONFIRMED: MessageState.UNCONFIRMED,
    Ending.REJECTED: MessageState.REJECTED,
    Ending.SUPPRESSED: MessageState.REJECTED,
    Ending.DEADLINE: MessageState.FAILED,
    Ending.EXHAUSTED: MessageState.FAILED,
    Ending.NOT_ON_RECORD: MessageState.FAILED,
    Ending.OVER_BUDGET: MessageState.FAILED,
}


@value(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The end of a walk. Anything but SENT and UNCONFIRMED means: nothing was sent."""

    ending: Ending
    possible_duplicate: bool = False
    retry_after: float | None = None
    """Seconds after which a new try may succeed; None where it would not."""
    cut_short: bool = False
    """The walk was ended from outside while providers were left."""

    @property
    def state(self) -> MessageState:
        return _STATES[self.ending]


@value(frozen=True, slots=True, kw_only=True)
class Try:
    """Ask this provider; stop waiting after `timeout` seconds."""

    provider: str
    timeout: float
    again: bool = False
    """It was asked before and certainly took nothing."""


@value(frozen=True, slots=True, kw_only=True)
class Skip:
    """Pass this provider over."""

    provider: str
    reason: SkipReason
    retry_at: float | None = None
    """The monotonic time from which the provider may be asked again, where it is known."""


@value(frozen=True, slots=True, kw_only=True)
class Finish:
    """Ask nobody else."""

    verdict: Verdict


Step = Try | Skip | Finish


def is_final(attempt: Attempt, guarantee: Guarantee) -> bool:
    """Whether nobody else is asked after this attempt, whoever is left."""
    outcome = attempt.outcome
    match outcome.policy.next_provider:
        case Next.NO:
            return not (outcome.refused and outcome.kind is Kind.ACCEPTED and outcome.left_over(guarantee))
        case Next.YES:
            return attempt.skipped in _LAST_SKIPS
        case Next.IF_AT_LEAST_ONCE:
            return guarantee is Guarantee.AT_MOST_ONCE


def decide(
    chain: Sequence[Candidate],
    attempts: Sequence[Attempt],
    *,
    refusals: Mapping[str, Refusal],
    time_left: float,
    shortest_attempt: float = 1.0,
    may_try_again: bool = False,
    abandoned: bool = False,
    stopping: bool = False,
) -> Step:
    """The next step of a walk whose last attempt was not final.

    `refusals` holds the providers whose circuit lets nothing through now.
    `time_left` and `shortest_attempt` are seconds; an attempt that would get
    less than the latter is not started. `may_try_again` allows one second try
    at a provider that certainly took nothing, once no other is left.
    `abandoned` means that the caller has gone: nobody else is asked.
    `stopping` means that the gateway is shutting down: no attempt is started.
    """
    tried = {a.provider for a in attempts}
    remaining = [c for c in chain if c.provider not in tried] if tried else chain
    if abandoned and tried:
        return Finish(verdict=judge(attempts, cut_short=bool(remaining)))
    if stopping and remaining:
        return Skip(provider=remaining[0].provider, reason=SkipReason.SHUTTING_DOWN)
    if stopping:
        return Finish(verdict=judge(attempts))
    if not remaining:
        return _try_again(chain, attempts, refusals, time_left, shortest_attempt, may_try_again)
    candidate = remaining[0]
    if refusal := refusals.get(candidate.provider):
        return passed_over(candidate.provider, refusal)
    if time_left < shortest_attempt:
        return Skip(provider=candidate.provider, reason=SkipReason.NO_TIME)
    sharers = sum(c.provider not in refusals for c in remaining) if refusals else len(remaining)
    share = max(time_left / sharers, shortest_attempt)
    return Try(provider=candidate.provider, timeout=min(candidate.timeout, share))


def passed_over(provider: str, refusal: Refusal) -> Skip:
    """The step past a provider whose circuit lets nothing through."""
    return Skip(provider=provider, reason=_SKIPS[refusal.reason], retry_at=refusal.retry_at)


def still_to_reach(message: Message[Content], attempts: Sequence[Attempt]) -> Message[Content]:
    """The message, without the recipients for whom a provider already took it."""
    for attempt in reversed(attempts):
        if attempt.kind is Kind.ACCEPTED:
            return message.only_to(attempt.outcome.left_over(message.guarantee))
    return message


def _try_again(
    chain: Sequence[Candidate],
    attempts: Sequence[Attempt],
    refusals: Mapping[str, Refusal],
    time_left: float,
    shortest_attempt: float,
    allowed: bool,
) -> Step:
    """The chain is used up: one more try at a provider that was merely out of reach."""
    if allowed and time_left >= shortest_attempt and len(attempts) == len(chain):
        unreachable = {a.provider for a in attempts if a.kind is Kind.UNREACHABLE}
        for candidate in chain:
            if candidate.provider in unreachable and candidate.provider not in refusals:
                return Try(provider=candidate.provider, timeout=min(candidate.timeout, time_left), again=True)
    return Finish(verdict=judge(attempts))


_SENT = Verdict(ending=Ending.SENT)
_SENT_PERHAPS_TWICE = Verdict(ending=Ending.SENT, possible_duplicate=True)


def judge(attempts: Sequence[Attempt], *, cut_short: bool = False) -> Verdict:
    """What a finished walk amounts to: what was sent, or may have been, outweighs all else.

    `cut_short`: the walk was ended from outside. One that a shutdown ended says so in its last attempt.
    """
    kinds = [a.outcome.kind for a in attempts]
    if Kind.ACCEPTED in kinds:
        return _SENT_PERHAPS_TWICE if _may_be_doubled(attempts) else _SENT
    if Kind.UNCONFIRMED in kinds:
        cut_short = cut_short or attempts[-1].skipped is SkipReason.SHUTTING_DOWN
        return Verdict(ending=Ending.UNCONFIRMED, possible_duplicate=_may_be_doubled(attempts), cut_short=cut_short)
    if Kind.REJECTED in kinds:
        ours = attempts[kinds.index(Kind.REJECTED)].provider == SUPPRESSION_LIST
        return Verdict(ending=Ending.SUPPRESSED if ours else Ending.REJECTED)
    if not cut_short and _all_refuse_the_recipient(attempts):
        return Verdict(ending=Ending.REJECTED)
    skips = {a.skipped for a in attempts}
    if SkipReason.CALLER_OVER_BUDGET in skips:
        return Verdict(ending=Ending.OVER_BUDGET)
    if SkipReason.NOT_ON_RECORD in skips:
        return Verdict(ending=Ending.NOT_ON_RECORD, retry_after=_retry_after(attempts))
    if SkipReason.NO_TIME in skips:
        return Verdict(ending=Ending.DEADLINE, retry_after=TRY_AGAIN_SECONDS)
    return Verdict(ending=Ending.EXHAUSTED, retry_after=_retry_after(attempts))


def _all_refuse_the_recipient(attempts: Sequence[Attempt]) -> bool:
    """Whether every provider refused for good, and one of them because there is no such recipient.

    A rejection is kept, so none follows while something else may be at fault: time, or our own set-up.
    """
    outcomes = [a.outcome for a in attempts]
    return any(o.blames_recipient for o in outcomes) and not any(
        o.policy.caller_may_retry or o.operator_can_mend for o in outcomes
    )


def _may_be_doubled(attempts: Sequence[Attempt]) -> bool:
    """Whether a provider may have sent it to somebody, and a later one has or may have as well."""
    doubtful = False
    for attempt in attempts:
        if doubtful and attempt.kind in (Kind.ACCEPTED, Kind.UNCONFIRMED):
            return True
        doubtful = doubtful or attempt.kind is Kind.UNCONFIRMED or any(r.unconfirmed for r in attempt.outcome.refused)
    return False


def _retry_after(attempts: Sequence[Attempt]) -> float | None:
    waits = [
        TRY_AGAIN_SECONDS if a.outcome.retry_after is None else a.outcome.retry_after
        for a in attempts
        if a.outcome.policy.caller_may_retry
    ]
    return min(waits, default=None)


@value(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A finished walk: every attempt, and what they amount to."""

    attempts: tuple[Attempt, ...]
    verdict: Verdict

    @property
    def accepted(self) -> Attempt | None:
        """The first attempt that a provider accepted."""
        for attempt in self.attempts:
            if attempt.outcome.kind is Kind.ACCEPTED:
                return attempt
        return None


def total_cost(attempts: Sequence[Attempt]) -> Money | None:
    """The sum of all attempts' costs, as billed and else as estimated; None where none is known.

    As estimated alone, where bills came in several currencies.
    """
    outcomes = [a.outcome for a in attempts]
    if len(outcomes) == 1:
        return outcomes[0].billed or outcomes[0].cost
    return _sum([o.billed or o.cost for o in outcomes]) or _sum([o.cost for o in outcomes])


def _sum(costs: Sequence[Money | None]) -> Money | None:
    """The sum of those that are known; None where there are none, or in several currencies."""
    known = [cost for cost in costs if cost]
    if len({cost.currency for cost in known}) != 1:
        return None
    return Money(micros=sum(cost.micros for cost in known), currency=known[0].currency)
