"""What follows from a try, and how fast a provider may be sent to."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.failover import Attempt, Ending, SkipReason, Verdict
from relaypost_server.core.message import Channel, Guarantee, MessageState
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.pace import Pace, take, wait
from relaypost_server.core.queue import (
    LONGEST_PAUSE,
    MOST_TRIES,
    Again,
    Dead,
    Death,
    Done,
    Job,
    Lane,
    Next,
    Pointer,
    after,
    longest_pause,
    on_record,
    state_of,
)
from relaypost_server.core.record import MessageRecord

NOW = datetime(2026, 7, 1, tzinfo=UTC)


def attempt(kind: Kind, skipped: SkipReason | None = None) -> Attempt:
    return Attempt(
        provider="a", outcome=Outcome(kind=kind), skipped=skipped, circuit=CircuitState.CLOSED, start_time=NOW
    )


def record(state: MessageState, *attempts: Attempt, guarantee: Guarantee = Guarantee.AT_LEAST_ONCE) -> MessageRecord:
    return MessageRecord(
        id="01981f00-0000-7000-8000-000000000001",
        channel=Channel.EMAIL,
        state=state,
        guarantee=guarantee,
        sender="noreply@example.com",
        recipients=("ada@example.com",),
        create_time=NOW,
        update_time=NOW,
        tags={},
        metadata={},
        attempts=attempts,
    )


def job(tries: int = 1, lives: timedelta = timedelta(hours=24)) -> Job:
    return Job(
        message=None,
        record=record(MessageState.SENDING),
        lane=Lane.TRANSACTIONAL,
        time_left=lives.total_seconds(),
        tries=tries,
        fence=1,
    )


def follows(
    state: MessageState,
    *attempts: Attempt,
    tries: int = 1,
    lives: timedelta = timedelta(hours=24),
    draw: float = 1.0,
    retry_after: float | None = None,
    guarantee: Guarantee = Guarantee.AT_LEAST_ONCE,
    elapsed: float = 0.0,
) -> Next:
    verdict = Verdict(ending=Ending.EXHAUSTED, retry_after=retry_after)
    return after(job(tries, lives), record(state, *attempts, guarantee=guarantee), verdict, elapsed=elapsed, draw=draw)


FAILED = attempt(Kind.UNREACHABLE)


@pytest.mark.parametrize("state", [MessageState.SENT, MessageState.REJECTED, MessageState.UNCONFIRMED])
def test_what_has_an_end_is_not_tried_again(state: MessageState) -> None:
    assert follows(state, FAILED) == Done()


def test_pauses_double_from_two_seconds_to_a_quarter_of_an_hour() -> None:
    assert [longest_pause(tries) for tries in (1, 2, 3, 9, 10, 99)] == [2.0, 4.0, 8.0, 512.0, 900.0, 900.0]


@given(tries=st.integers(1, MOST_TRIES - 1), draw=st.floats(0, 1))
def test_what_was_not_sent_is_tried_again_after_a_pause_with_full_jitter(tries: int, draw: float) -> None:
    step = follows(MessageState.FAILED, FAILED, tries=tries, draw=draw)
    assert step == Again(draw * longest_pause(tries))


def test_eight_tries_are_all() -> None:
    assert follows(MessageState.FAILED, FAILED, tries=MOST_TRIES - 1) == Again(longest_pause(MOST_TRIES - 1))
    assert follows(MessageState.FAILED, FAILED, tries=MOST_TRIES) == Dead(Death.TRIED)


def test_a_try_at_which_nobody_was_asked_does_not_count() -> None:
    skipped = attempt(Kind.SKIPPED, SkipReason.CIRCUIT_OPEN)
    assert follows(MessageState.FAILED, skipped, tries=MOST_TRIES) == Again(longest_pause(MOST_TRIES), counted=False)


def test_a_message_whose_next_try_would_come_too_late_is_given_up() -> None:
    assert follows(MessageState.FAILED, FAILED, lives=timedelta(seconds=2)) == Dead(Death.EXPIRED)
    assert follows(MessageState.FAILED, FAILED, lives=timedelta(seconds=2.1)) == Again(2.0)
    assert follows(MessageState.FAILED, FAILED, lives=timedelta(seconds=2.1), elapsed=0.2) == Dead(Death.EXPIRED)


def test_a_provider_may_ask_for_a_longer_pause_within_bounds() -> None:
    assert follows(MessageState.FAILED, FAILED, retry_after=30.0) == Again(30.0)
    assert follows(MessageState.FAILED, FAILED, retry_after=86_400.0) == Again(LONGEST_PAUSE)
    assert follows(MessageState.FAILED, FAILED, retry_after=0.5) == Again(2.0)


@pytest.mark.parametrize(
    ("step", "state", "expected"),
    [
        (Done(), MessageState.SENT, MessageState.SENT),
        (Again(2.0), MessageState.FAILED, MessageState.QUEUED),
        (Dead(Death.TRIED), MessageState.FAILED, MessageState.DEAD),
        (Dead(Death.EXPIRED), MessageState.UNCONFIRMED, MessageState.UNCONFIRMED),
    ],
)
def test_the_state_says_whether_a_message_still_waits(step: Next, state: MessageState, expected: MessageState) -> None:
    assert state_of(record(state), step) is expected


def test_a_pointer_reads_what_it_writes() -> None:
    pointer = Pointer("01981f00-0000-7000-8000-000000000001", Lane.OTP, Channel.SMS)
    assert Pointer.read(str(pointer), Lane.OTP) == pointer


@pytest.mark.parametrize("text", ["", "nonsense", "sms", "sms 7", "fax 01981f00-0000-7000-8000-000000000001"])
def test_what_is_no_pointer_is_not_read_as_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"UUID|Channel"):
        Pointer.read(text, Lane.OTP)


@given(
    rate=st.floats(0.1, 1000),
    level=st.floats(0, 1000),
    age=st.floats(-5, 3600),
    wanted=st.integers(0, 500),
)
def test_a_bucket_never_gives_more_than_it_holds(rate: float, level: float, age: float, wanted: int) -> None:
    pace = Pace.of(rate)
    grant = take(pace, level=level, age=age, wanted=wanted)
    assert 0 <= grant.granted <= wanted
    assert 0 <= grant.left <= pace.burst - grant.granted + 1e-9
    assert grant.granted + grant.left <= level + max(0.0, age) * rate + 1e-6


def test_an_empty_bucket_says_how_long_to_wait() -> None:
    pace = Pace.of(4.0)
    grant = take(pace, level=0.0, age=0.125, wanted=3)
    assert (grant.granted, grant.left) == (0, 0.5)
    assert wait(pace, grant.left) == 0.125


def test_tries_in_a_row_that_pass_every_provider_over_leave_the_skips_of_the_last_one() -> None:
    failed, cooling = attempt(Kind.FAULTED), attempt(Kind.SKIPPED, SkipReason.COOLING)
    last = attempt(Kind.SKIPPED, SkipReason.CIRCUIT_OPEN)

    def kept(before: tuple[Attempt, ...], *made: Attempt) -> tuple[Attempt, ...]:
        earlier = replace(job(), record=record(MessageState.SENDING, *before))
        return on_record(earlier, record(MessageState.FAILED, *before, *made)).attempts

    assert kept((failed, cooling), last) == (failed, last)
    assert kept((failed, cooling), last, failed) == (failed, cooling, last, failed)
    assert kept((), last) == (last,)
