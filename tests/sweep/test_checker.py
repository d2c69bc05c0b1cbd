"""The checker itself: a history that keeps every promise passes, and each promise can be broken."""

from dataclasses import replace
from typing import Any

import pytest

from tests.sweep.checker import Change, Entry, Facts, Submission, Told, check

TOLD = Told(token="t", answer="sent", message_id="m", keyed=True)
GOT = Submission(provider="ses", token="t", message_id="m")
ENTRY = Entry(message_id="m", token="t", state="sent", attempts=(("ses", "accepted"),))


def facts(**changes: Any) -> Facts:
    """One message that was sent as it should, and what is different."""
    usual: dict[str, Any] = {
        "told": [TOLD],
        "submissions": [GOT],
        "entries": [ENTRY],
        "changes": [Change("m", "", "sending"), Change("m", "sending", "sent")],
    }
    return Facts(**usual | changes)


def broken(**changes: Any) -> set[str]:
    return {v.promise for v in check(facts(**changes))}


def test_a_message_that_is_sent_once_and_logged_breaks_no_promise() -> None:
    assert check(facts()) == []


def test_a_second_copy_with_possible_duplicate_breaks_no_promise() -> None:
    entry = replace(ENTRY, possible_duplicate=True, attempts=(("ses", "unconfirmed"), ("sendgrid", "accepted")))
    second = replace(GOT, provider="sendgrid")
    assert check(facts(submissions=[GOT, second], entries=[entry])) == []


@pytest.mark.parametrize("answer", ["sent", "queued", "unconfirmed"])
def test_a_message_that_was_accepted_and_is_not_on_record_is_lost(answer: str) -> None:
    assert "lost" in broken(told=[replace(TOLD, answer=answer)], entries=[], submissions=[], changes=[])


def test_a_message_that_is_logged_as_sent_and_that_no_provider_has_is_lost() -> None:
    assert "lost" in broken(submissions=[replace(GOT, taken=False)])


@pytest.mark.parametrize("state", ["queued", "sending"])
def test_a_message_that_never_reaches_a_final_state_is_lost(state: str) -> None:
    assert "lost" in broken(entries=[replace(ENTRY, state=state)])


def test_a_provider_that_has_a_message_twice_is_noticed() -> None:
    assert broken(submissions=[GOT, GOT]) >= {"twice", "unlogged"}


def test_two_copies_without_possible_duplicate_are_noticed() -> None:
    entry = replace(ENTRY, attempts=(("ses", "unconfirmed"), ("sendgrid", "accepted")))
    assert broken(submissions=[GOT, replace(GOT, provider="sendgrid")], entries=[entry]) == {"twice"}


def test_two_copies_of_a_message_with_at_most_once_are_noticed() -> None:
    entry = replace(ENTRY, possible_duplicate=True, attempts=(("ses", "unconfirmed"), ("sendgrid", "accepted")))
    told = replace(TOLD, at_most_once=True)
    assert broken(told=[told], submissions=[GOT, replace(GOT, provider="sendgrid")], entries=[entry]) == {"twice"}


def test_an_error_about_a_message_that_a_provider_has_is_noticed() -> None:
    assert broken(told=[replace(TOLD, answer="error", code="UNAVAILABLE")]) == {"answer"}


def test_an_internal_error_is_noticed() -> None:
    told = replace(TOLD, answer="error", code="INTERNAL")
    assert broken(told=[told], submissions=[], entries=[], changes=[]) == {"answer"}


def test_a_cancelled_message_that_a_provider_has_is_noticed() -> None:
    assert "answer" in broken(told=[replace(TOLD, answer="cancelled")])


@pytest.mark.parametrize(("before", "after"), [("sent", "queued"), ("delivered", "queued"), ("cancelled", "sending")])
def test_a_state_that_may_not_follow_is_noticed(before: str, after: str) -> None:
    assert broken(changes=[Change("m", before, after)]) == {"transition"}


def test_a_message_of_the_queue_that_is_failed_for_a_moment_is_noticed() -> None:
    changes = [Change("m", "", "queued"), Change("m", "queued", "sending"), Change("m", "sending", "failed")]
    assert broken(changes=changes) == {"transition"}


def test_a_submission_without_an_attempt_on_record_is_noticed() -> None:
    assert broken(entries=[replace(ENTRY, attempts=(("ses", "skipped"),))]) == {"unlogged"}


def test_two_messages_in_the_log_for_one_call_are_noticed() -> None:
    assert "unlogged" in broken(entries=[ENTRY, replace(ENTRY, message_id="n")])


def test_what_died_with_its_process_before_it_was_on_record_is_excused_without_a_key_alone() -> None:
    lost = {"submissions": [GOT], "entries": [], "changes": [], "killed": True}
    assert broken(told=[replace(TOLD, answer="", keyed=False)], **lost) == set()
    assert broken(told=[replace(TOLD, answer="")], **lost) == {"unlogged"}


def test_a_stream_that_ends_with_an_end_that_was_none_is_noticed() -> None:
    assert broken(watched={"m": ["sending", "failed"]}, over={"m"}) == {"watcher"}


def test_a_webhook_that_tells_of_an_end_and_then_goes_on_is_noticed() -> None:
    told = {"m": ["cancelled", "queued"]}
    assert broken(events=told, posted=told) == {"webhook"}


def test_a_webhook_that_was_never_posted_is_noticed() -> None:
    assert broken(events={"m": ["sent"]}) == {"webhook"}


def test_a_webhook_that_does_not_tell_the_end_is_noticed() -> None:
    assert broken(hooked=True) == {"webhook"}


def test_background_work_that_ended_what_is_left_over_and_exceptions_are_noticed() -> None:
    assert broken(missing_tasks=["Recovery._run"]) == {"task ended"}
    assert broken(left_over={"leases": 1, "spool files": 0}) == {"left over"}
    assert broken(incidents=["KeyError"]) == {"incident"}
