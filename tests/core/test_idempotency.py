"""Requests that are repeated: what they are answered with."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, strategies as st

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.failover import Attempt, Ending, judge
from relaypost_server.core.idempotency import (
    InProgress,
    KnownRequest,
    Replay,
    Resume,
    Reused,
    Started,
    fingerprint,
    is_kept,
    reconsider,
    settle,
    still_in_doubt,
    verdict_on,
)
from relaypost_server.core.message import Address, Attachment, Email, Guarantee, MessageState, Sms
from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.record import MessageRecord
from tests import messages
from tests.store.records import record

ALO, AMO = Guarantee.AT_LEAST_ONCE, Guarantee.AT_MOST_ONCE
NOW = datetime(2026, 7, 1, 13, 0, 0, tzinfo=UTC)
EMAIL: Email = messages.email().content
SMS = Sms(to="+14155550123", country="US", text="Hi")


def attempt(provider: str, kind: Kind) -> Attempt:
    return Attempt(provider=provider, outcome=Outcome(kind=kind), circuit=CircuitState.CLOSED, start_time=NOW)


def known(**changes: Any) -> KnownRequest:
    fields: dict[str, Any] = {
        "fingerprint": "f",
        "fence": 1,
        "running": False,
        "kept": False,
        "started": None,
        "record": record(state=MessageState.SENDING, attempts=(), guarantee=ALO),
    }
    return KnownRequest(**fields | changes)


def test_the_case_of_header_names_makes_no_other_request() -> None:
    one, other = (replace(EMAIL, headers={name: "1", "X-B": "2"}) for name in ("X-Campaign", "x-CAMPAIGN"))
    assert fingerprint(one, ALO, {}) == fingerprint(other, ALO, {})
    changed = replace(EMAIL, headers={"x-campaign": "2", "X-B": "2"})
    assert fingerprint(one, ALO, {}) != fingerprint(changed, ALO, {})


def test_a_fingerprint_depends_on_neither_the_order_nor_the_kind_of_a_map() -> None:
    one = replace(EMAIL, headers={"X-A": "1", "X-B": "2"})
    other = replace(EMAIL, headers={"X-B": "2", "X-A": "1"})
    assert fingerprint(one, ALO, {"a": "1", "b": "2"}) == fingerprint(other, ALO, {"b": "2", "a": "1"})


@pytest.mark.parametrize(
    "changed",
    [
        replace(EMAIL, subject="Other"),
        replace(EMAIL, text="Other"),
        replace(EMAIL, html=EMAIL.text),
        replace(EMAIL, to=(Address(email="b@example.com"),)),
        replace(EMAIL, to=(), cc=EMAIL.to),
        replace(EMAIL, sender=Address(email=EMAIL.sender.email, name="Ada")),
        replace(EMAIL, attachments=(Attachment(filename="a", content=b"1"),)),
        replace(EMAIL, tags={"a": "1"}),
        replace(EMAIL, headers={"a": "1"}),
        SMS,
    ],
)
def test_other_content_has_another_fingerprint(changed: Email | Sms) -> None:
    assert fingerprint(changed, ALO, {}) != fingerprint(EMAIL, ALO, {})


def test_everything_beside_the_content_counts_as_well() -> None:
    plain = fingerprint(SMS, ALO, {})
    assert fingerprint(SMS, AMO, {}) != plain
    assert fingerprint(SMS, ALO, {"a": "1"}) != plain
    assert fingerprint(replace(SMS, max_price=Money(micros=1)), ALO, {}) != plain
    one, other = (replace(EMAIL, attachments=(Attachment(filename="a", content=c),)) for c in (b"1", b"2"))
    assert fingerprint(one, ALO, {}) != fingerprint(other, ALO, {})


def test_a_name_with_other_content_is_refused_whatever_became_of_the_first() -> None:
    for first in (known(), known(running=True), known(kept=True)):
        assert reconsider(first, "other", NOW) == Reused()


def test_a_request_that_runs_is_not_run_again() -> None:
    assert reconsider(known(running=True), "f", NOW) == InProgress()


@pytest.mark.parametrize("state", [MessageState.SENT, MessageState.REJECTED, MessageState.UNCONFIRMED])
def test_a_final_answer_is_given_again(state: MessageState) -> None:
    final = record(state=state)
    assert reconsider(known(kept=True, record=final), "f", NOW) == Replay(record=final)


def test_what_was_certainly_not_sent_may_be_tried_again() -> None:
    failed = record(state=MessageState.FAILED, attempts=(attempt("a", Kind.FAULTED),))
    answer = reconsider(known(record=failed), "f", NOW)
    assert isinstance(answer, Resume)
    assert answer.record.attempts == failed.attempts


def test_a_gateway_that_died_before_any_attempt_leaves_nothing_in_doubt() -> None:
    answer = reconsider(known(), "f", NOW)
    assert isinstance(answer, Resume)
    assert (answer.record.state, answer.record.attempts) == (MessageState.FAILED, ())


@pytest.mark.parametrize(("guarantee", "answer"), [(ALO, Resume), (AMO, Replay)])
def test_a_gateway_that_died_in_an_attempt_leaves_it_to_the_guarantee(guarantee: Guarantee, answer: type) -> None:
    started = Started(provider="ses", time=NOW)
    found = reconsider(known(started=started, record=record(attempts=(), guarantee=guarantee)), "f", NOW)
    assert isinstance(found, answer)
    assert isinstance(found, Replay | Resume)
    assert found.record.state is MessageState.UNCONFIRMED
    (lost,) = found.record.attempts
    assert (lost.provider, lost.kind, lost.start_time) == ("ses", Kind.UNCONFIRMED, NOW)


def test_settling_keeps_what_was_tried_before() -> None:
    tried = record(attempts=(attempt("a", Kind.FAULTED),))
    settled = settle(known(started=Started(provider="b", time=NOW), record=tried), NOW)
    assert [(a.provider, a.kind) for a in settled.attempts] == [("a", Kind.FAULTED), ("b", Kind.UNCONFIRMED)]
    assert settled.update_time == NOW


@pytest.mark.parametrize(
    ("state", "guarantee", "cut_short", "kept"),
    [
        (MessageState.SENT, ALO, False, True),
        (MessageState.SENT, ALO, True, True),
        (MessageState.REJECTED, AMO, False, True),
        (MessageState.FAILED, AMO, False, False),
        (MessageState.FAILED, ALO, True, False),
        (MessageState.UNCONFIRMED, ALO, False, True),
        (MessageState.UNCONFIRMED, ALO, True, False),
        (MessageState.UNCONFIRMED, AMO, True, True),
    ],
)
def test_what_is_kept(state: MessageState, guarantee: Guarantee, cut_short: bool, kept: bool) -> None:
    assert is_kept(record(state=state, guarantee=guarantee), cut_short=cut_short) is kept


@pytest.mark.parametrize("state", [MessageState.SENT, MessageState.DELIVERED, MessageState.FAILED])
def test_a_receipt_outweighs_what_a_dead_gateway_left_in_doubt(state: MessageState) -> None:
    started = Started(provider="ses", time=NOW)
    settled = settle(known(started=started, proven=True, record=record(attempts=(), state=state)), NOW)
    assert (settled.state, [a.kind for a in settled.attempts]) == (state, [Kind.UNCONFIRMED])


@pytest.mark.parametrize(
    ("state", "kind", "ending"),
    [
        (MessageState.UNCONFIRMED, Kind.UNCONFIRMED, Ending.UNCONFIRMED),
        (MessageState.REJECTED, Kind.REJECTED, Ending.REJECTED),
        (MessageState.SENT, Kind.ACCEPTED, Ending.SENT),
        (MessageState.BOUNCED, Kind.ACCEPTED, Ending.SENT),
        (MessageState.DELIVERED, Kind.UNCONFIRMED, Ending.SENT),
        (MessageState.DELIVERED, Kind.FAULTED, Ending.SENT),
    ],
)
def test_an_earlier_request_is_answered_as_it_ended_or_as_a_receipt_says(
    state: MessageState, kind: Kind, ending: Ending
) -> None:
    assert verdict_on(record(state=state, attempts=(attempt("a", kind),))).ending is ending


def test_a_rejection_that_followed_from_whom_a_provider_blamed_is_answered_again_as_one() -> None:
    """The log keeps the kinds of attempts, and not whom a provider blamed."""
    refused = (attempt("a", Kind.UNSUPPORTED), attempt("b", Kind.UNSUPPORTED))
    assert verdict_on(record(state=MessageState.REJECTED, attempts=refused)).ending is Ending.REJECTED


@given(
    st.lists(
        st.builds(
            Outcome,
            kind=st.sampled_from(Kind),
            blames_recipient=st.booleans(),
            alert=st.booleans(),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_a_repeated_request_is_answered_with_the_verdict_of_the_first(outcomes: list[Outcome]) -> None:
    """Though the log keeps neither whom a provider blamed nor what an operator could mend."""
    attempts = [replace(attempt(str(n), o.kind), outcome=o) for n, o in enumerate(outcomes)]
    verdict = judge(attempts)
    kept = tuple(attempt(str(n), o.kind) for n, o in enumerate(outcomes))
    again = verdict_on(record(state=verdict.state, attempts=kept, possible_duplicate=verdict.possible_duplicate))
    assert (again.ending, again.possible_duplicate) == (verdict.ending, verdict.possible_duplicate)


NOT_SENT = (MessageState.FAILED, MessageState.SENDING, MessageState.QUEUED, MessageState.DEAD)


@pytest.mark.parametrize("state", [s for s in MessageState if s not in NOT_SENT])
def test_what_receipts_say_is_kept(state: MessageState) -> None:
    assert is_kept(record(state=state, guarantee=AMO), cut_short=True)


def test_only_what_may_have_been_sent_stays_in_doubt() -> None:
    made: MessageRecord = record(attempts=tuple(attempt(k.value, k) for k in Kind))
    assert [a.provider for a in still_in_doubt(made)] == ["unconfirmed"]
