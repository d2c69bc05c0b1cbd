"""What to do next, and what a finished walk amounts to."""

from datetime import UTC, datetime
from typing import Any

import pytest

from relaypost_server.core.breaker import CircuitState, Refusal, RefusalReason
from relaypost_server.core.failover import (
    SUPPRESSION_LIST,
    Attempt,
    Candidate,
    Delivery,
    Ending,
    Finish,
    Skip,
    SkipReason,
    Step,
    Try,
    decide,
    is_final,
    judge,
    still_to_reach,
    total_cost,
)
from relaypost_server.core.message import Address, Email, Guarantee, Message, MessageState
from relaypost_server.core.money import Money
from relaypost_server.core.outcome import POLICY, Kind, Next, Outcome, RefusedRecipient

CHAIN = [Candidate(provider=name, timeout=10.0) for name in ("a", "b", "c")]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
REFUSED_FOR_NOW = RefusedRecipient(address="bob@example.com", provider_code="450", temporary=True)
ALO, AMO = Guarantee.AT_LEAST_ONCE, Guarantee.AT_MOST_ONCE


def attempt(provider: str, kind: Kind, skipped: SkipReason | None = None, **outcome: object) -> Attempt:
    return Attempt(
        provider=provider,
        outcome=Outcome(kind=kind, **outcome),  # type: ignore[arg-type]
        skipped=skipped,
        circuit=CircuitState.CLOSED,
        start_time=NOW,
    )


def step(
    *attempts: Attempt,
    chain: list[Candidate] = CHAIN,
    refusals: dict[str, Refusal] | None = None,
    time_left: float = 14.8,
    guarantee: Guarantee = ALO,
    may_try_again: bool = False,
    abandoned: bool = False,
) -> Step:
    if attempts and is_final(attempts[-1], guarantee):
        return Finish(verdict=judge(attempts))
    return decide(
        chain,
        attempts,
        refusals=refusals or {},
        time_left=time_left,
        may_try_again=may_try_again,
        abandoned=abandoned,
    )


def ending(taken: Step) -> Ending:
    assert isinstance(taken, Finish)
    return taken.verdict.ending


def test_begins_with_the_first_provider() -> None:
    assert step() == Try(provider="a", timeout=14.8 / 3)


@pytest.mark.parametrize("kind", [k for k in Kind if POLICY[k].next_provider is Next.YES])
@pytest.mark.parametrize("guarantee", list(Guarantee))
def test_goes_on_where_nothing_was_sent(kind: Kind, guarantee: Guarantee) -> None:
    taken = step(attempt("a", kind), guarantee=guarantee)
    assert isinstance(taken, Try)
    assert taken.provider == "b"


@pytest.mark.parametrize(("kind", "expected"), [(Kind.ACCEPTED, Ending.SENT), (Kind.REJECTED, Ending.REJECTED)])
def test_stops_where_another_provider_would_change_nothing(kind: Kind, expected: Ending) -> None:
    assert ending(step(attempt("a", kind))) is expected


def test_a_lost_answer_ends_the_walk_at_most_once() -> None:
    assert ending(step(attempt("a", Kind.UNCONFIRMED), guarantee=AMO)) is Ending.UNCONFIRMED


def test_a_lost_answer_goes_on_at_least_once_and_marks_the_duplicate() -> None:
    lost = attempt("a", Kind.UNCONFIRMED)
    assert isinstance(step(lost), Try)
    taken = step(lost, attempt("b", Kind.ACCEPTED))
    assert isinstance(taken, Finish)
    assert taken.verdict.ending is Ending.SENT
    assert taken.verdict.possible_duplicate


def test_an_answer_lost_after_a_partial_refusal_marks_the_duplicate() -> None:
    """Bob's copy may have left with b, and certainly left with c."""
    partly = attempt("a", Kind.ACCEPTED, refused=(REFUSED_FOR_NOW,))
    walk = [partly, attempt("b", Kind.UNCONFIRMED), attempt("c", Kind.ACCEPTED)]
    assert judge(walk).possible_duplicate
    assert not judge(walk[:2]).possible_duplicate


def test_two_lost_answers_mark_the_duplicate() -> None:
    """Both providers may have sent it."""
    walk = [attempt("a", Kind.UNCONFIRMED), attempt("b", Kind.UNCONFIRMED)]
    verdict = judge(walk)
    assert (verdict.ending, verdict.possible_duplicate) == (Ending.UNCONFIRMED, True)
    assert not judge([*walk[:1], attempt("b", Kind.FAULTED)]).possible_duplicate


def test_an_answer_lost_by_a_later_provider_marks_no_duplicate() -> None:
    kinds = [attempt("a", Kind.FAULTED), attempt("b", Kind.ACCEPTED)]
    assert not judge(kinds).possible_duplicate


@pytest.mark.parametrize("last", [Kind.REJECTED, Kind.FAULTED, Kind.UNAUTHORIZED])
def test_what_may_have_been_sent_is_never_reported_as_a_failure(last: Kind) -> None:
    verdict = judge([attempt("a", Kind.UNCONFIRMED), attempt("b", last)])
    assert verdict.ending is Ending.UNCONFIRMED
    assert verdict.state is MessageState.UNCONFIRMED


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (RefusalReason.OPEN, SkipReason.CIRCUIT_OPEN),
        (RefusalReason.PROBING, SkipReason.PROBING),
        (RefusalReason.COOLING, SkipReason.COOLING),
    ],
)
def test_passes_over_a_provider_whose_circuit_refuses(reason: RefusalReason, why: SkipReason) -> None:
    taken = step(refusals={"a": Refusal(reason, 60.0)})
    assert taken == Skip(provider="a", reason=why, retry_at=60.0)


def test_time_is_shared_among_the_providers_that_would_be_asked() -> None:
    taken = step(attempt("a", Kind.SKIPPED), refusals={"b": Refusal(RefusalReason.OPEN, 60.0)}, time_left=9.0)
    assert isinstance(taken, Skip)
    taken = step(attempt("a", Kind.SKIPPED), attempt("b", Kind.SKIPPED), time_left=9.0)
    assert taken == Try(provider="c", timeout=9.0)


def test_unused_time_rolls_on() -> None:
    assert step(attempt("a", Kind.FAULTED), time_left=14.0) == Try(provider="b", timeout=7.0)


def test_no_attempt_takes_longer_than_its_provider_may() -> None:
    chain = [Candidate(provider="a", timeout=2.0)]
    assert step(chain=chain, time_left=14.0) == Try(provider="a", timeout=2.0)


def test_a_short_share_is_raised_at_the_expense_of_later_providers() -> None:
    assert step(time_left=1.5) == Try(provider="a", timeout=1.0)


def test_an_attempt_without_enough_time_is_not_started() -> None:
    assert step(time_left=0.99) == Skip(provider="a", reason=SkipReason.NO_TIME)


@pytest.mark.parametrize("before", [Kind.SKIPPED, Kind.FAULTED])
def test_running_out_of_time_is_the_deadlines_fault(before: Kind) -> None:
    attempts = [attempt("a", before), *(attempt(p, Kind.SKIPPED, SkipReason.NO_TIME) for p in "bc")]
    assert ending(step(*attempts, time_left=0.5)) is Ending.DEADLINE


def test_all_circuits_open_is_worth_a_retry_at_the_earliest_reopening() -> None:
    waits = {"a": 40.0, "b": 12.0, "c": 59.0}
    attempts = [attempt(p, Kind.SKIPPED, SkipReason.CIRCUIT_OPEN, retry_after=w) for p, w in waits.items()]
    verdict = judge(attempts)
    assert (verdict.ending, verdict.retry_after) == (Ending.EXHAUSTED, 12.0)


def test_a_walk_that_no_retry_would_mend_says_so() -> None:
    attempts = [attempt("a", Kind.UNAUTHORIZED), attempt("b", Kind.UNSUPPORTED)]
    assert judge(attempts).retry_after is None


def test_one_provider_worth_retrying_makes_the_walk_worth_retrying() -> None:
    attempts = [attempt("a", Kind.UNAUTHORIZED), attempt("b", Kind.UNREACHABLE)]
    assert judge(attempts).retry_after == 1.0


def exhausted(*kinds: Kind) -> list[Attempt]:
    return [attempt(c.provider, kind) for c, kind in zip(CHAIN, kinds, strict=True)]


def test_a_provider_out_of_reach_is_asked_once_more_when_no_other_is_left() -> None:
    attempts = exhausted(Kind.FAULTED, Kind.UNREACHABLE, Kind.UNREACHABLE)
    assert step(*attempts, may_try_again=True, time_left=5.0) == Try(provider="b", timeout=5.0, again=True)
    again = [*attempts, attempt("b", Kind.UNREACHABLE)]
    assert ending(step(*again, may_try_again=True)) is Ending.EXHAUSTED


@pytest.mark.parametrize("kind", [k for k in Kind if k not in (Kind.UNREACHABLE, Kind.ACCEPTED, Kind.REJECTED)])
def test_nothing_else_is_ever_tried_twice(kind: Kind) -> None:
    assert isinstance(step(*exhausted(kind, kind, kind), may_try_again=True), Finish)


def test_a_second_try_needs_budget_time_and_a_circuit_that_lets_it_through() -> None:
    attempts = exhausted(Kind.UNREACHABLE, Kind.FAULTED, Kind.FAULTED)
    assert isinstance(step(*attempts, may_try_again=False), Finish)
    assert isinstance(step(*attempts, may_try_again=True, time_left=0.9), Finish)
    refusals = {"a": Refusal(RefusalReason.OPEN, 60.0)}
    assert isinstance(step(*attempts, may_try_again=True, refusals=refusals), Finish)


def test_a_caller_who_has_gone_gets_no_second_provider() -> None:
    assert isinstance(step(attempt("a", Kind.FAULTED), abandoned=True), Finish)
    assert isinstance(step(abandoned=True), Try), "the first attempt is not yet made"


def partly_refused(*addresses: str, temporary: bool) -> Attempt:
    refused = tuple(RefusedRecipient(address=a, provider_code="450", temporary=temporary) for a in addresses)
    return attempt("a", Kind.ACCEPTED, refused=refused)


def email(*to: str) -> Message[Email]:
    content = Email(sender=Address(email="s@x.org"), to=tuple(Address(email=a) for a in to), subject="s", text="t")
    return Message(id="m", content=content, create_time=NOW)


def test_recipients_refused_for_now_are_offered_to_the_next_provider() -> None:
    first = partly_refused("b@x.org", temporary=True)
    assert isinstance(step(first), Try)
    rest = still_to_reach(email("a@x.org", "b@x.org"), [first])
    assert rest.content.recipients == ("b@x.org",)


def test_recipients_refused_for_good_are_not() -> None:
    assert ending(step(partly_refused("b@x.org", temporary=False))) is Ending.SENT


def test_a_message_that_some_got_counts_as_sent_whatever_becomes_of_the_rest() -> None:
    attempts = [partly_refused("b@x.org", temporary=True), attempt("b", Kind.REJECTED)]
    assert ending(step(*attempts)) is Ending.SENT


def partly_unconfirmed(*addresses: str) -> Attempt:
    refused = tuple(RefusedRecipient(address=a, provider_code="", temporary=False, unconfirmed=True) for a in addresses)
    return attempt("a", Kind.ACCEPTED, refused=refused)


def test_unconfirmed_recipients_are_offered_to_the_next_provider_as_possible_duplicates() -> None:
    first = partly_unconfirmed("b@x.org")
    assert isinstance(step(first), Try)
    assert not is_final(first, Guarantee.AT_LEAST_ONCE)
    assert still_to_reach(email("a@x.org", "b@x.org"), [first]).content.recipients == ("b@x.org",)
    assert judge([first, attempt("b", Kind.ACCEPTED)]).possible_duplicate
    assert judge([first, attempt("b", Kind.UNCONFIRMED)]).possible_duplicate
    assert not judge([first, attempt("b", Kind.UNREACHABLE)]).possible_duplicate
    assert not judge([first]).possible_duplicate


def test_unconfirmed_recipients_get_no_second_copy_where_that_is_ruled_out() -> None:
    first = partly_unconfirmed("b@x.org")
    assert is_final(first, Guarantee.AT_MOST_ONCE)
    assert judge([first]).ending is Ending.SENT


def test_before_anything_was_accepted_everybody_is_to_be_reached() -> None:
    message = email("a@x.org", "b@x.org")
    assert still_to_reach(message, [attempt("a", Kind.FAULTED)]) is message


def test_an_empty_chain_is_exhausted() -> None:
    assert ending(step(chain=[])) is Ending.EXHAUSTED


@pytest.mark.parametrize(
    ("attempts", "expected", "state"),
    [
        ([(Kind.ACCEPTED, None)], Ending.SENT, MessageState.SENT),
        ([(Kind.UNCONFIRMED, None)], Ending.UNCONFIRMED, MessageState.UNCONFIRMED),
        ([(Kind.REJECTED, None)], Ending.REJECTED, MessageState.REJECTED),
        ([(Kind.SKIPPED, SkipReason.NO_TIME)], Ending.DEADLINE, MessageState.FAILED),
        ([(Kind.FAULTED, None)], Ending.EXHAUSTED, MessageState.FAILED),
        ([(Kind.SKIPPED, SkipReason.NOT_ON_RECORD)], Ending.NOT_ON_RECORD, MessageState.FAILED),
        ([(Kind.SKIPPED, SkipReason.CALLER_OVER_BUDGET)], Ending.OVER_BUDGET, MessageState.FAILED),
    ],
)
def test_every_ending_has_its_state(
    attempts: list[tuple[Kind, SkipReason | None]], expected: Ending, state: MessageState
) -> None:
    verdict = judge([attempt("a", kind, skipped) for kind, skipped in attempts])
    assert (verdict.ending, verdict.state) == (expected, state)


def test_what_the_gateways_own_list_refused_is_suppressed() -> None:
    verdict = judge([attempt(SUPPRESSION_LIST, Kind.REJECTED)])
    assert (verdict.ending, verdict.state) == (Ending.SUPPRESSED, MessageState.REJECTED)


def test_nobody_is_asked_again_and_nobody_has_gone_unless_that_is_said() -> None:
    out_of_reach = [attempt("a", Kind.UNREACHABLE)]
    alone = decide(CHAIN[:1], out_of_reach, refusals={}, time_left=10.0)
    assert ending(alone) is Ending.EXHAUSTED
    assert decide(CHAIN[:2], out_of_reach, refusals={}, time_left=10.0) == Try(provider="b", timeout=10.0)


def test_a_second_try_needs_no_more_than_the_shortest_attempt() -> None:
    out_of_reach = [attempt("a", Kind.UNREACHABLE)]
    taken = step(*out_of_reach, chain=CHAIN[:1], time_left=1.0, may_try_again=True)
    assert taken == Try(provider="a", timeout=1.0, again=True)
    assert isinstance(step(*out_of_reach, chain=CHAIN[:1], time_left=0.99, may_try_again=True), Finish)


def test_a_delivery_names_the_first_that_accepted_and_sums_what_is_known_of_the_cost() -> None:
    paid = [attempt(name, Kind.ACCEPTED, cost=Money(micros=micros)) for name, micros in (("b", 100), ("c", 20))]
    walk = (attempt("a", Kind.FAULTED), *paid, attempt("d", Kind.FAULTED))
    delivery = Delivery(attempts=walk, verdict=judge(walk))
    assert delivery.accepted is paid[0]
    assert total_cost(walk) == Money(micros=120)


def test_a_delivery_that_nobody_accepted_names_nobody_and_knows_no_cost() -> None:
    walk = (attempt("a", Kind.FAULTED),)
    delivery = Delivery(attempts=walk, verdict=judge(walk))
    assert (delivery.accepted, total_cost(walk), walk[0].duration) == (None, None, 0.0)


@pytest.mark.parametrize(
    ("told", "cost"),
    [
        ([{}], None),
        ([{"cost": Money(micros=100)}], Money(micros=100)),
        ([{"cost": Money(micros=100), "billed": Money(micros=90)}], Money(micros=90)),
        ([{}, {"cost": Money(micros=100)}], Money(micros=100)),
        ([{"cost": Money(micros=100), "billed": Money(micros=90)}, {"cost": Money(micros=20)}], Money(micros=110)),
        (
            [
                {"cost": Money(micros=100), "billed": Money(micros=90, currency="EUR")},
                {"cost": Money(micros=20), "billed": Money(micros=10)},
            ],
            Money(micros=120),
        ),
        ([{"cost": Money(micros=100)}, {"cost": Money(micros=20, currency="EUR")}], None),
    ],
)
def test_the_cost_is_what_was_billed_and_else_what_was_estimated(
    told: list[dict[str, Any]], cost: Money | None
) -> None:
    assert total_cost([attempt("a", Kind.UNCONFIRMED, **amounts) for amounts in told]) == cost


def test_a_caller_who_is_over_budget_is_sent_nowhere() -> None:
    taken = step(attempt("a", Kind.SKIPPED, SkipReason.CALLER_OVER_BUDGET))
    assert ending(taken) is Ending.OVER_BUDGET


@pytest.mark.parametrize("reason", [SkipReason.NOT_ON_RECORD, SkipReason.TAKEN_OVER])
def test_a_reason_that_holds_for_every_provider_ends_the_walk(reason: SkipReason) -> None:
    taken = step(attempt("a", Kind.SKIPPED, reason, retry_after=7.0))
    expected = Ending.NOT_ON_RECORD if reason is SkipReason.NOT_ON_RECORD else Ending.EXHAUSTED
    assert isinstance(taken, Finish)
    assert (taken.verdict.ending, taken.verdict.retry_after) == (expected, 7.0)
    assert (taken.verdict.state, taken.verdict.cut_short) == (MessageState.FAILED, False)


def test_a_provider_that_has_the_message_is_passed_over() -> None:
    taken = step(attempt("a", Kind.SKIPPED, SkipReason.HAS_IT), guarantee=AMO)
    assert isinstance(taken, Try)
    assert taken.provider == "b"


def test_a_lost_answer_at_the_end_of_a_chain_is_not_cut_short() -> None:
    verdict = judge([attempt("a", Kind.UNCONFIRMED)])
    assert (verdict.ending, verdict.cut_short) == (Ending.UNCONFIRMED, False)


def test_a_recipient_whom_one_provider_calls_unknown_is_rejected_once_all_refused() -> None:
    blamed = attempt("a", Kind.UNSUPPORTED, blames_recipient=True)
    assert judge([blamed, attempt("b", Kind.UNSUPPORTED)]).ending is Ending.REJECTED
    assert judge([attempt("b", Kind.UNSUPPORTED), blamed]).ending is Ending.REJECTED
    assert judge([attempt("b", Kind.UNSUPPORTED)]).ending is Ending.EXHAUSTED


@pytest.mark.parametrize(
    "ours",
    [
        attempt("b", Kind.UNAUTHORIZED),
        attempt("b", Kind.UNSUPPORTED, alert=True),
        attempt("b", Kind.UNSUPPORTED, alert=True, blames_recipient=True),
    ],
)
def test_a_recipient_is_not_rejected_where_an_operator_can_mend_a_refusal(ours: Attempt) -> None:
    """A rejection is kept for days, and would outlive the mistake in our own set-up."""
    blamed = attempt("a", Kind.UNSUPPORTED, blames_recipient=True)
    for attempts in ([blamed, ours], [ours, blamed]):
        verdict = judge(attempts)
        assert (verdict.ending, verdict.retry_after) == (Ending.EXHAUSTED, None)


@pytest.mark.parametrize("kind", [k for k in Kind if POLICY[k].caller_may_retry])
def test_a_recipient_is_not_rejected_while_another_provider_may_reach_it_later(kind: Kind) -> None:
    blamed = attempt("a", Kind.UNSUPPORTED, blames_recipient=True)
    verdict = judge([blamed, attempt("b", kind)])
    assert verdict.ending is Ending.EXHAUSTED
    assert verdict.retry_after is not None


def test_a_recipient_is_not_rejected_when_the_caller_left_before_every_provider_was_asked() -> None:
    """A rejection is kept, and would be the answer to every later call."""
    blamed = attempt("a", Kind.UNSUPPORTED, blames_recipient=True)
    assert judge([blamed], cut_short=True).ending is Ending.EXHAUSTED
    assert judge([blamed]).ending is Ending.REJECTED
