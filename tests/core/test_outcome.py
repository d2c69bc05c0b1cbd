"""The policy table, and what every answer goes through before it is shown."""

import pytest

from relaypost_server.core.message import Guarantee
from relaypost_server.core.outcome import DETAIL_LIMIT, POLICY, Effect, Kind, Next, Outcome, RefusedRecipient


def test_the_policy_is_the_documented_one() -> None:
    """The table of docs/errors.md, word for word."""
    rows = {k.value: (p.next_provider.value, p.effect.value, p.caller_may_retry) for k, p in POLICY.items()}
    assert rows == {
        "accepted": ("no", "success", False),
        "skipped": ("yes", "neutral", True),
        "unreachable": ("yes", "failure", True),
        "faulted": ("yes", "failure", True),
        "unconfirmed": ("if_at_least_once", "failure", False),
        "throttled": ("yes", "neutral", True),
        "unauthorized": ("yes", "account_fault", False),
        "unsupported": ("yes", "neutral", False),
        "deferred": ("yes", "neutral", True),
        "rejected": ("no", "neutral", False),
    }


def test_every_kind_has_a_policy() -> None:
    assert set(POLICY) == set(Kind)


def test_only_what_may_have_been_sent_depends_on_the_guarantee() -> None:
    depending = [k for k, p in POLICY.items() if p.next_provider is Next.IF_AT_LEAST_ONCE]
    assert depending == [Kind.UNCONFIRMED]


def test_no_message_at_fault_benches_a_provider() -> None:
    for kind in (Kind.REJECTED, Kind.DEFERRED, Kind.UNSUPPORTED, Kind.THROTTLED, Kind.SKIPPED):
        assert POLICY[kind].effect is Effect.NEUTRAL


@pytest.mark.parametrize(
    "words",
    [
        "550 5.1.1 <ada@example.com>: Recipient address rejected",
        "The 'To' number +14155550123 is not a valid phone number",
        "key AKIAIOSFODNN7EXAMPLE is not authorized",
        "token SG.abcdefghij1234567890.zyxwvutsrq",
        "your code 482915 was refused",
        "line one\r\nBcc: x@example.com",
    ],
)
def test_details_hold_no_address_number_or_key(words: str) -> None:
    detail = Outcome(kind=Kind.FAULTED, detail=words).detail
    for secret in ("ada@", "x@", "4155550123", "AKIA", "SG.", "482915", "\r", "\n"):
        assert secret not in detail


def test_what_providers_say_is_bounded() -> None:
    outcome = Outcome(
        kind=Kind.FAULTED, detail="word " * 10_000, provider_code="C" * 500, provider_message_id="i" * 5000
    )
    assert len(outcome.detail) == DETAIL_LIMIT
    assert len(outcome.provider_code) == 64
    assert len(outcome.provider_message_id) == 255


def test_codes_and_ids_are_kept_as_they_are() -> None:
    outcome = Outcome(kind=Kind.REJECTED, provider_code="21211", provider_message_id="SM0123456789abcdef")
    assert (outcome.provider_code, outcome.provider_message_id) == ("21211", "SM0123456789abcdef")


def test_the_next_provider_is_asked_for_temporary_refusals_and_for_unconfirmed_ones_if_at_least_once() -> None:
    refused = (
        RefusedRecipient(address="a@x.org", provider_code="450", temporary=True),
        RefusedRecipient(address="b@x.org", provider_code="550", temporary=False),
        RefusedRecipient(address="c@x.org", provider_code="", temporary=False, unconfirmed=True),
    )
    outcome = Outcome(kind=Kind.ACCEPTED, refused=refused)
    assert outcome.left_over(Guarantee.AT_LEAST_ONCE) == ("a@x.org", "c@x.org")
    assert outcome.left_over(Guarantee.AT_MOST_ONCE) == ("a@x.org",)
    assert [r.shown_code for r in refused] == ["450", "550", "UNCONFIRMED"]


def test_an_outcome_says_no_more_than_it_was_told() -> None:
    plain = Outcome(kind=Kind.FAULTED)
    told = (plain.detail, plain.retry_after, plain.cost, plain.segments, plain.refused, plain.alert)
    assert told == ("", None, None, 0, (), False)


def test_what_is_shown_is_no_longer_than_documented() -> None:
    told = Outcome(kind=Kind.FAULTED, detail="d" * 999, provider_code="c" * 999, provider_message_id="i" * 999)
    assert (len(told.detail), len(told.provider_code), len(told.provider_message_id)) == (200, 64, 255)


def test_the_providers_words_are_redacted_and_kept_apart() -> None:
    told = Outcome(kind=Kind.REJECTED, detail="HTTP 400", provider_text="no ada@example.com, code 482915")
    assert (told.detail, told.provider_text) == ("HTTP 400", "no [address], code [number]")
    assert told.full_detail == "HTTP 400: no [address], code [number]"


def test_the_full_detail_is_what_there_is_and_no_longer_than_documented() -> None:
    assert Outcome(kind=Kind.FAULTED, detail="HTTP 503").full_detail == "HTTP 503"
    assert Outcome(kind=Kind.ACCEPTED, provider_text="queued").full_detail == "queued"
    long = Outcome(kind=Kind.FAULTED, detail="d" * 150, provider_text="w " * 500)
    assert (len(long.provider_text), len(long.full_detail)) == (DETAIL_LIMIT, DETAIL_LIMIT)


@pytest.mark.parametrize(
    "code", ["MessageRejected", "21211", "550 5.1.1", "AWS.SimpleError", "Limit_Exceeded", "C" * 64, "10"]
)
def test_codes_are_shown(code: str) -> None:
    assert Outcome(kind=Kind.FAULTED, provider_code=code).provider_code == code


@pytest.mark.parametrize(
    "code", ["482915", "Invalid subject: Hi", "ada@example.com", "+14155550123", "550 5.1.1 Ada", "é", "1", " A", "A\n"]
)
def test_what_looks_like_no_code_is_not_shown_as_one(code: str) -> None:
    assert Outcome(kind=Kind.FAULTED, provider_code=code).provider_code == ""


def test_a_neutral_outcome_teaches_the_circuit_nothing() -> None:
    assert Outcome(kind=Kind.FAULTED).effect is Effect.FAILURE
    assert Outcome(kind=Kind.FAULTED, neutral=True).effect is Effect.NEUTRAL
    assert Outcome(kind=Kind.FAULTED).given_up_after is None
