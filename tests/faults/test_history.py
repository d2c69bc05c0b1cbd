"""The checker finds what it is there to find."""

import pytest

from tests.faults.history import Call, History, Logged, Result, Submission, check

CALL = Call(token="t", result=Result.SENT, message_id="m")
ONCE = Call(token="t", result=Result.SENT, message_id="m", at_most_once=True)
NO_ANSWER = Call(token="t", result=Result.UNKNOWN)
KEYED = Call(token="t", result=Result.UNKNOWN, keyed=True)
FAILED = Call(token="t", result=Result.FAILED, message_id="m")
SES = Submission(provider="ses", token="t", message_id="m")
SENDGRID = Submission(provider="sendgrid", token="t", message_id="m")
REFUSED = Submission(provider="ses", token="t", message_id="m", taken=False)


def logged(*attempts: tuple[str, str], state: str = "sent", duplicate: bool = False) -> Logged:
    return Logged(message_id="m", token="t", state=state, attempts=attempts, possible_duplicate=duplicate)


ACCEPTED = logged(("ses", "accepted"))
LOST_ANSWER = logged(("ses", "unconfirmed"), ("sendgrid", "accepted"), duplicate=True)
FAULTED = logged(("ses", "faulted"), ("sendgrid", "accepted"))


@pytest.mark.parametrize(
    ("call", "submissions", "entries"),
    [
        pytest.param(CALL, [SES], [ACCEPTED], id="sent once"),
        pytest.param(CALL, [REFUSED, SENDGRID], [FAULTED], id="sent by the second"),
        pytest.param(CALL, [SES, SENDGRID], [LOST_ANSWER], id="a duplicate that is documented"),
        pytest.param(FAILED, [REFUSED], [logged(("ses", "faulted"), state="failed")], id="failed"),
        pytest.param(NO_ANSWER, [], [], id="no answer, and never sent"),
        pytest.param(NO_ANSWER, [SES], [], id="no answer, and killed after it was sent"),
        pytest.param(NO_ANSWER, [SES, SENDGRID], [], id="no answer, and killed within the second attempt"),
        pytest.param(NO_ANSWER, [SES], [ACCEPTED], id="no answer, but sent and logged"),
        pytest.param(KEYED, [], [], id="keyed and given up before anything happened"),
    ],
)
def test_what_keeps_every_promise(call: Call, submissions: list[Submission], entries: list[Logged]) -> None:
    assert check(History([call], submissions, entries)) == []


@pytest.mark.parametrize(
    ("call", "submissions", "entries", "kind"),
    [
        pytest.param(CALL, [], [ACCEPTED], "lost", id="told as sent, and nobody has it"),
        pytest.param(CALL, [REFUSED], [logged(("ses", "faulted"))], "lost", id="told as sent, and refused"),
        pytest.param(NO_ANSWER, [], [ACCEPTED], "lost", id="logged as accepted, and nobody has it"),
        pytest.param(CALL, [SES, SES], [ACCEPTED], "duplicated", id="twice at one provider"),
        pytest.param(CALL, [SES, SENDGRID], [FAULTED], "duplicated", id="a second copy without a lost answer"),
        pytest.param(ONCE, [SES, SENDGRID], [LOST_ANSWER], "duplicated", id="at most once, and two copies"),
        pytest.param(KEYED, [SES, SENDGRID], [], "duplicated", id="keyed, and two copies that nobody knows of"),
        pytest.param(CALL, [SES], [], "unlogged", id="told as sent, and not in the log"),
        pytest.param(KEYED, [SES], [], "unlogged", id="keyed, sent and not in the log"),
        pytest.param(CALL, [SES, REFUSED], [ACCEPTED], "unlogged", id="an attempt that is not in the log"),
        pytest.param(CALL, [SES], [logged(("ses", "accepted"), state="failed")], "unlogged", id="another state"),
        pytest.param(FAILED, [SES], [logged(("ses", "faulted"), state="failed")], "phantom", id="told as failed"),
        pytest.param(CALL, [SES], [ACCEPTED, ACCEPTED], "phantom", id="two messages for one call"),
    ],
)
def test_each_broken_promise_is_found(
    call: Call, submissions: list[Submission], entries: list[Logged], kind: str
) -> None:
    assert kind in {offence.kind for offence in check(History([call], submissions, entries))}


def test_what_nobody_asked_for_is_a_phantom() -> None:
    assert [o.kind for o in check(History([], [SES], [ACCEPTED]))] == ["phantom", "phantom"]


def test_an_offence_names_its_token() -> None:
    (offence,) = check(History([CALL], [], []))[:1]
    assert "t: " in str(offence)


def test_a_record_that_died_with_its_gateway_is_excused_only_where_nothing_was_promised() -> None:
    excused = Call(token="t", result=Result.SENT, message_id="m", excused=True)
    assert check(History([excused], [SES], [])) == []
    assert [o.kind for o in check(History([CALL], [SES], []))] == ["unlogged"]
