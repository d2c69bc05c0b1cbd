"""What follows from a silence: decided without a clock and without a log."""

from dataclasses import replace

import pytest

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.delivery import Blame, DeliveryEvent, EventType, RejectReason, fold
from relaypost_server.core.failover import Attempt, SkipReason
from relaypost_server.core.message import Attachment, Guarantee, MessageState
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.silence import (
    AGAIN,
    LONGEST,
    SHORTEST,
    News,
    Step,
    before_the_walk,
    decide,
    explained,
    may_be_followed,
    second_copy,
    still_untouched,
    weight,
    went_out,
)
from tests import messages
from tests.receipts import event
from tests.store.records import record

ROUTE = event(EventType.FAILED, reject_reason=RejectReason.OTHER)
BAD_NUMBER = event(EventType.BOUNCED, reject_reason=RejectReason.INVALID)
PHONE_OFF = event(EventType.BOUNCED, reject_reason=RejectReason.TIMED_OUT, permanent=False)


def attempt(provider: str, kind: Kind) -> Attempt:
    return Attempt(provider=provider, outcome=Outcome(kind=kind), circuit=CircuitState.CLOSED, start_time=messages.NOW)


@pytest.mark.parametrize(
    ("news", "early", "late"),
    [
        (None, Step.WAIT, Step.SEND_AGAIN),
        (News(), Step.WAIT, Step.SEND_AGAIN),
        (News(events=(event(EventType.DELIVERED),)), Step.CONFIRMED, Step.CONFIRMED),
        *(
            (News(events=(event(kind),)), Step.CONFIRMED, Step.CONFIRMED)
            for kind in (EventType.OPENED, EventType.CLICKED, EventType.COMPLAINED, EventType.UNSUBSCRIBED)
        ),
        (News(events=(event(EventType.OTHER),)), Step.WAIT, Step.SEND_AGAIN),
        (News(events=(ROUTE, event(EventType.DELIVERED))), Step.CONFIRMED, Step.CONFIRMED),
        (News(verified=True), Step.CONFIRMED, Step.CONFIRMED),
        (News(verified=True, moot=True), Step.CONFIRMED, Step.CONFIRMED),
        (News(moot=True), Step.GIVE_UP, Step.GIVE_UP),
        (News(events=(ROUTE,)), Step.SEND_AGAIN, Step.SEND_AGAIN),
        (News(events=(ROUTE,), moot=True), Step.GIVE_UP, Step.GIVE_UP),
        (News(events=(BAD_NUMBER,)), Step.GIVE_UP, Step.GIVE_UP),
        (News(events=(ROUTE, BAD_NUMBER)), Step.GIVE_UP, Step.GIVE_UP),
        (News(events=(PHONE_OFF,)), Step.WAIT, Step.SEND_AGAIN),
    ],
)
def test_what_is_done_before_and_after_the_time(news: News | None, early: Step, late: Step) -> None:
    assert decide(news, overdue=False) is early
    assert decide(news, overdue=True) is late


@pytest.mark.parametrize(
    ("kind", "reason", "permanent", "blamed"),
    [
        (EventType.FAILED, None, True, Blame.ROUTE),
        (EventType.FAILED, RejectReason.BLOCKED, True, Blame.ROUTE),
        (EventType.FAILED, RejectReason.UNSUBSCRIBED, True, Blame.RECIPIENT),
        (EventType.FAILED, RejectReason.SPAM, True, Blame.RECIPIENT),
        (EventType.BOUNCED, RejectReason.BLOCKED, True, Blame.RECIPIENT),
        (EventType.BOUNCED, RejectReason.BLOCKED, False, Blame.ROUTE),
        (EventType.BOUNCED, RejectReason.OTHER, False, Blame.ROUTE),
        (EventType.BOUNCED, RejectReason.BOUNCED, False, Blame.RECIPIENT),
        (EventType.BOUNCED, RejectReason.TIMED_OUT, False, Blame.NOBODY),
        (EventType.COMPLAINED, RejectReason.SPAM, True, None),
        (EventType.DELIVERED, None, True, None),
    ],
)
def test_whose_fault_it_is(kind: EventType, reason: RejectReason | None, permanent: bool, blamed: Blame | None) -> None:
    assert event(kind, reject_reason=reason, permanent=permanent).blame is blamed


def test_only_providers_that_certainly_do_not_have_it_are_left() -> None:
    made = [attempt("a", Kind.UNREACHABLE), attempt("b", Kind.UNCONFIRMED), attempt("c", Kind.ACCEPTED)]
    assert still_untouched(["a", "b", "c", "d"], made) == ("a", "d")
    passed_over = before_the_walk(record(attempts=tuple(made)))
    assert [(a.provider, a.kind, a.skipped) for a in passed_over] == [
        ("b", Kind.SKIPPED, SkipReason.HAS_IT),
        ("c", Kind.SKIPPED, SkipReason.HAS_IT),
    ]
    assert {a.outcome.detail for a in passed_over} == {"took the message before"}


@pytest.mark.parametrize(
    ("kinds", "went"),
    [
        ([], False),
        ([Kind.FAULTED, Kind.SKIPPED], False),
        ([Kind.FAULTED, Kind.ACCEPTED], True),
        ([Kind.UNCONFIRMED], True),
    ],
)
def test_whether_a_second_copy_is_out(kinds: list[Kind], went: bool) -> None:
    assert went_out([attempt("b", kind) for kind in kinds]) is went


@pytest.mark.parametrize(
    ("state", "provider", "followed"),
    [
        (MessageState.SENT, "a", True),
        (MessageState.SENT, "", False),
        (MessageState.UNCONFIRMED, "", False),
        (MessageState.UNCONFIRMED, "a", False),
        (MessageState.FAILED, "a", False),
    ],
)
def test_only_what_a_provider_took_is_followed(state: MessageState, provider: str, followed: bool) -> None:
    assert may_be_followed(record(state=state, provider=provider)) is followed


def test_the_bounds_are_those_that_the_api_tells() -> None:
    assert (SHORTEST, LONGEST) == (5.0, 600.0)


def test_the_second_copy_is_the_last_and_lives_no_longer_than_the_first() -> None:
    first = messages.sms(validity=300.0)
    second = second_copy(first, age=60.0)
    assert (second.id, second.content.text, second.content.validity) == (first.id, first.content.text, 240.0)
    assert second.guarantee is Guarantee.AT_MOST_ONCE
    assert second_copy(messages.sms(validity=30.0), age=60.0).content.validity == 1.0
    assert second_copy(messages.email(), age=60.0).content == messages.email().content


def test_the_attempt_says_why_it_was_made() -> None:
    assert explained(attempt("b", Kind.ACCEPTED)).outcome.detail == AGAIN
    failed = attempt("b", Kind.FAULTED)
    told = replace(failed, outcome=replace(failed.outcome, detail="HTTP 503"))
    assert explained(told).outcome.detail == f"{AGAIN}: HTTP 503"
    skipped = replace(failed, skipped=SkipReason.CIRCUIT_OPEN)
    assert explained(skipped) == skipped


def test_a_message_weighs_what_it_holds() -> None:
    assert weight(messages.sms(text="x" * 1000)) == 4000
    file = Attachment(filename="a", content=b"x" * 700)
    assert weight(messages.email(subject="x" * 10, text="x" * 20, html="x" * 30, attachments=(file,))) == 2820


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([ROUTE], None),
        ([ROUTE, event(EventType.FAILED, provider="twilio")], MessageState.FAILED),
        ([BAD_NUMBER, event(EventType.DELIVERED, provider="twilio")], MessageState.DELIVERED),
        ([event(EventType.DELIVERED)], MessageState.DELIVERED),
    ],
)
def test_that_one_failed_says_nothing_while_another_has_a_copy(
    events: list[DeliveryEvent], state: MessageState | None
) -> None:
    for order in (events, events[::-1]):
        standing = fold(order, sent_again_by="twilio")
        assert (standing and standing.state) is state
