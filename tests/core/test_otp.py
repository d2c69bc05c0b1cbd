"""The rules of one-time passwords, and how codes are kept."""

import inspect
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from relaypost_server.core.limits import Rate, charges, prefix_of
from relaypost_server.core.message import Channel
from relaypost_server.core.otp import OtpPolicy, OtpRequest, is_code, minutes
from relaypost_server.core.otp_codes import Bound, Peppers

PEPPERS = Peppers("p" * 32)
BOUND = Bound(otp_id="id-1", purpose="sign_in", destination="+14155550123")
CODES = st.from_regex(r"[0-9]{4,10}", fullmatch=True)


def request(channel: Channel = Channel.EMAIL, destination: str = "ada@example.com") -> OtpRequest:
    return OtpRequest(caller="", channel=channel, destination=destination, purpose="sign_in", template="otp")


@given(CODES, st.integers(1, 99))
def test_a_kept_code_can_be_opened_and_compared(code: str, generation: int) -> None:
    stored = PEPPERS.store(code, BOUND, generation=generation)
    assert PEPPERS.open(stored, BOUND) == code
    assert PEPPERS.matches(code, stored, BOUND)
    assert 0 <= stored.seal < 10 ** len(code)


@given(CODES, CODES)
def test_no_other_code_is_right(code: str, other: str) -> None:
    assert PEPPERS.matches(other, PEPPERS.store(code, BOUND), BOUND) is (other == code)


@pytest.mark.parametrize("change", [{"otp_id": "id-2"}, {"purpose": "pay"}, {"destination": "+14155550124"}])
def test_a_code_is_right_for_what_it_belongs_to_alone(change: dict[str, str]) -> None:
    assert not PEPPERS.matches("123456", PEPPERS.store("123456", BOUND), replace(BOUND, **change))


def test_what_is_kept_tells_nothing_of_the_code() -> None:
    """Each seal is as likely for one code as for another: over ids, those of one code fill all digits."""
    seals = [PEPPERS.store("0000", replace(BOUND, otp_id=str(n))).seal for n in range(2000)]
    counts = [sum(seal // 1000 == digit for seal in seals) for digit in range(10)]
    assert min(counts) > 120
    stored = PEPPERS.store("314159", BOUND)
    assert "314159" not in repr(stored)
    assert BOUND.destination not in repr(BOUND)


def test_a_new_code_of_the_same_id_is_sealed_anew() -> None:
    first, second = (PEPPERS.store("123456", BOUND, generation=n) for n in (1, 2))
    assert first.seal != second.seal


def test_earlier_peppers_still_open_and_strange_ones_do_not() -> None:
    stored = PEPPERS.store("123456", BOUND)
    renewed = Peppers("n" * 32, ["p" * 32])
    assert renewed.matches("123456", stored, BOUND)
    assert renewed.open(stored, BOUND) == "123456"
    assert renewed.store("123456", BOUND).pepper != stored.pepper
    stranger = Peppers("s" * 32)
    assert not stranger.matches("123456", stored, BOUND)
    assert stranger.open(stored, BOUND) is None


def test_nothing_is_right_where_there_is_no_code() -> None:
    assert not PEPPERS.matches("123456", None)


def test_codes_are_compared_in_constant_time() -> None:
    assert "hmac.compare_digest" in inspect.getsource(Peppers.matches)


@given(st.text(max_size=12))
def test_only_ascii_digits_make_a_code(text: str) -> None:
    assert is_code(text) is (4 <= len(text) <= 10 and all(c in "0123456789" for c in text))


@pytest.mark.parametrize("text", ["١٢٣٤٥٦", "１２３４５６", "12345６", "123456\n", " 123456", "+12345", "¹²³⁴"])
def test_digits_of_other_scripts_are_none(text: str) -> None:
    assert not is_code(text)


def test_the_wait_grows_and_then_stays() -> None:
    policy = OtpPolicy()
    assert [policy.cool_down(n) for n in (1, 2, 3, 4, 9)] == [30.0, 60.0, 120.0, 120.0, 120.0]


@pytest.mark.parametrize(
    ("sent", "verified", "blocked"), [(49, 0, False), (50, 0, True), (50, 4, True), (50, 5, False), (50, 50, False)]
)
def test_a_prefix_is_blocked_by_its_conversion(sent: int, verified: int, blocked: bool) -> None:
    assert OtpPolicy().blocks(sent, verified) is blocked
    assert not OtpPolicy(block_over=0).blocks(sent, verified)


def test_only_chosen_countries_get_texts() -> None:
    policy = OtpPolicy(countries=frozenset({"US"}))
    us = replace(request(Channel.SMS, "+14155550123"), country="US")
    assert policy.allows(us)
    assert not policy.allows(replace(us, country="DE"))
    assert not policy.allows(replace(us, country=""))
    assert policy.allows(request())


def test_a_send_is_counted_under_every_limit_that_is_on() -> None:
    names = [c.limit for c in OtpPolicy().charges(request(Channel.SMS, "+14155550123"), "192.0.2.1")]
    assert names == ["destination", "destination_day", "caller", "client", "prefix"]
    assert [c.limit for c in OtpPolicy().charges(request(), "")] == ["destination", "destination_day", "caller"]
    assert charges({"a": "k"}, {"a": Rate(most=0, seconds=1.0)}) == ()
    assert prefix_of("+14155550123") == "1415555"


def test_all_but_the_code_is_in_the_fingerprint() -> None:
    base = request()
    changes = [
        {"destination": "b@example.com"},
        {"purpose": "pay"},
        {"locale": "de"},
        {"variables": {"app": "x"}},
        {"length": 8},
        {"ttl": 60.0},
    ]
    prints = {base.fingerprint, *(replace(base, **change).fingerprint for change in changes)}  # type: ignore[arg-type]
    assert len(prints) == 7
    assert (
        replace(base, variables={"a": "1", "b": "2"}).fingerprint
        == replace(base, variables={"b": "2", "a": "1"}).fingerprint
    )


@pytest.mark.parametrize(("seconds", "text"), [(30.0, "1"), (90.0, "1"), (119.9, "1"), (300.0, "5"), (3600.0, "60")])
def test_a_message_never_promises_more_than_there_is(seconds: float, text: str) -> None:
    assert minutes(seconds) == text
