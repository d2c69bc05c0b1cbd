"""What gateways believe of what others tell them."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from relaypost_server.core.advice import (
    Advice,
    AdviceKind,
    Ignored,
    OwnEvidence,
    read,
    write,
)
from relaypost_server.core.breaker import LONGEST_COOL_DOWN, CircuitSnapshot, CircuitState, OpenReason
from relaypost_server.core.message import Channel

AT = 1_800_000_000.0
COOLING = Advice(kind=AdviceKind.COOLING, channel=Channel.SMS, provider="twilio", seconds=120.0)
LARGEST = 512
GOOD: dict[str, Any] = json.loads(write(COOLING, replica="a", at=AT))
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists)


def changed(**fields: Any) -> bytes:
    return json.dumps(GOOD | fields).encode()


def heard(message: bytes, later: float = 0.0) -> Advice | Ignored:
    return read(message, replica="b", now=AT + later)


@pytest.mark.parametrize("kind", AdviceKind)
def test_what_is_told_is_understood(kind: AdviceKind) -> None:
    advice = Advice(kind=kind, channel=Channel.EMAIL, provider="ses", seconds=60.0)
    message = write(advice, replica="a", at=AT)
    assert heard(message) == advice


def test_a_message_is_short_and_says_what_it_is() -> None:
    advice = Advice(kind=AdviceKind.COOLING, channel=Channel.SMS, provider="twilio", seconds=7.12349)
    assert write(advice, replica="a", at=AT + 0.12349) == (
        b'{"v":1,"from":"a","at":1800000000.123,"what":"cooling","channel":"sms","provider":"twilio","seconds":7.123}'
    )


def test_advice_ages_on_its_way() -> None:
    found = heard(changed(), later=30.0)
    assert isinstance(found, Advice)
    assert found.seconds == pytest.approx(90.0)


def test_a_message_may_have_all_the_bytes_that_there_are() -> None:
    assert heard(changed().ljust(LARGEST)) == COOLING


def test_the_last_moments_of_advice_still_count() -> None:
    found = heard(changed(seconds=10.5), later=10.0)
    assert isinstance(found, Advice)
    assert found.seconds == pytest.approx(0.5)


def test_a_clock_that_is_ahead_lengthens_nothing() -> None:
    assert heard(changed(), later=-5.0) == COOLING


@pytest.mark.parametrize("seconds", [86_401, 1e300, 10**300])
def test_no_time_is_longer_than_a_day(seconds: float) -> None:
    found = heard(changed(seconds=seconds))
    assert isinstance(found, Advice)
    assert found.seconds == LONGEST_COOL_DOWN


@pytest.mark.parametrize(
    ("message", "later", "expected"),
    [
        (changed(), -5.1, Ignored.FUTURE),
        (changed(), 30.1, Ignored.STALE),
        (changed(seconds=10), 10.0, Ignored.STALE),
        (changed(seconds=0), 0.0, Ignored.STALE),
        (changed(seconds=-1e308), 0.0, Ignored.STALE),
        (changed(at=-1e308), 0.0, Ignored.STALE),
        (changed(at=1e308), 0.0, Ignored.FUTURE),
        (changed(v=2), 0.0, Ignored.FOREIGN),
        (changed(v="1"), 0.0, Ignored.FOREIGN),
        (changed(what="closed"), 0.0, Ignored.FOREIGN),
        (changed(channel="pigeon"), 0.0, Ignored.FOREIGN),
        (b"{}", 0.0, Ignored.FOREIGN),
        (changed(seconds=float("nan")), 0.0, Ignored.MALFORMED),
        (changed(seconds=float("inf")), 0.0, Ignored.MALFORMED),
        (changed(seconds=True), 0.0, Ignored.MALFORMED),
        (changed(seconds="60"), 0.0, Ignored.MALFORMED),
        (changed(seconds=10**309), 0.0, Ignored.MALFORMED),
        (changed(at=None), 0.0, Ignored.MALFORMED),
        (changed(provider=["twilio"]), 0.0, Ignored.MALFORMED),
        (changed(what={}), 0.0, Ignored.MALFORMED),
        (changed(channel=[]), 0.0, Ignored.MALFORMED),
        (changed(**{"from": 7}), 0.0, Ignored.MALFORMED),
        (b"[1]", 0.0, Ignored.MALFORMED),
        (b"", 0.0, Ignored.MALFORMED),
        (b"\xff\x00", 0.0, Ignored.MALFORMED),
        (b"[" * LARGEST, 0.0, Ignored.MALFORMED),
        (changed().ljust(LARGEST + 1), 0.0, Ignored.MALFORMED),
        (changed(more="x" * LARGEST), 0.0, Ignored.MALFORMED),
        (changed(**{"from": "b"}), 0.0, Ignored.OWN),
    ],
)
def test_what_is_not_as_expected_says_nothing(message: bytes, later: float, expected: Ignored) -> None:
    assert heard(message, later) is expected


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(list(GOOD)), JSON))
def test_no_change_of_a_message_makes_trouble(fields: dict[str, Any]) -> None:
    found = heard(changed(**fields))
    assert isinstance(found, Ignored) or 0 < found.seconds <= LONGEST_COOL_DOWN


@given(st.binary(max_size=2 * LARGEST))
def test_no_bytes_make_trouble(message: bytes) -> None:
    assert isinstance(heard(message), Ignored)


def circuit(state: CircuitState, reason: OpenReason | None) -> CircuitSnapshot:
    return CircuitSnapshot(
        state=state,
        reason=reason,
        changed_at=0.0,
        refusal=None,
        consecutive_failures=0,
        recent_calls=0,
        recent_failures=0,
    )


@pytest.mark.parametrize("reason", OpenReason)
def test_an_opening_is_told_unless_all_know_it_or_one_of_them_said_so(reason: OpenReason) -> None:
    silent = {OpenReason.ADVISED, OpenReason.UNDELIVERED}
    assert OwnEvidence().suffices(circuit(CircuitState.OPEN, reason)) == (reason not in silent)


def test_what_follows_from_advice_is_told_only_with_evidence_of_its_own() -> None:
    """Among many gateways one always fails once: told on, advice would never end."""
    evidence, opened = OwnEvidence(), CircuitState.OPEN
    for reason in (OpenReason.ADVISED, OpenReason.PROBE_FAILED, OpenReason.PROBE_FAILED):
        assert not evidence.suffices(circuit(opened, reason))
        assert not evidence.suffices(circuit(CircuitState.HALF_OPEN, reason))
    assert evidence.suffices(circuit(opened, OpenReason.ACCOUNT))
    assert evidence.suffices(circuit(opened, OpenReason.PROBE_FAILED))
    assert not evidence.suffices(circuit(opened, OpenReason.ADVISED))
    assert not evidence.suffices(circuit(CircuitState.CLOSED, None))
    assert evidence.suffices(circuit(opened, OpenReason.PROBE_FAILED))
