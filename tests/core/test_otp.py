"""The rules of one-time passwords, and how codes are kept."""

import inspect
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from relaypost_server.core.limits import Rate, charges, prefix_of
from relaypost_server.core.message import Channel
from relaypost_server.core.otp import OtpPolicy, OtpRequest, minutes, typed_code
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


@given(CODES)
def test_a_code_in_ascii_digits_is_read_as_it_is(code: str) -> None:
    assert typed_code(code) == code


@given(
    CODES,
    st.sampled_from([0x30, 0x660, 0x6F0, 0x966, 0xE50, 0xFF10, 0x1D7CE]),
    st.lists(
        st.sampled_from(" -.\t\n\u00a0\u2007\u2011\u2013\u2212\u200b\u200e\u202a\ufeff\uff0e\u00b7"),
        min_size=11,
        max_size=11,
    ),
)
def test_a_code_in_any_digits_with_anything_invisible_between_is_the_code(
    code: str, zero: int, between: list[str]
) -> None:
    typed = between[-1] + "".join(chr(zero + int(d)) + mark for d, mark in zip(code, between, strict=False))
    assert typed_code(typed) == code


@given(st.text(max_size=14))
def test_what_is_read_has_four_to_ten_ascii_digits_or_nothing(text: str) -> None:
    code = typed_code(text)
    assert code == "" or (4 <= len(code) <= 10 and all(c in "0123456789" for c in code))
    digits = [str(unicodedata.decimal(c)) for c in text if c.isdecimal()]
    assert code in ("", "".join(digits))


@pytest.mark.parametrize(
    "text",
    ["483 920", "483-920", "483920 ", " 483920", "483.920", "٤٨٣٩٢٠", "４８３９２０", "483\u2011920", "\u200e483920\n"],
)
def test_typed_forms_are_the_code(text: str) -> None:
    assert typed_code(text) == "483920"


@pytest.mark.parametrize(
    "text", ["", "48392O", "+483920", "#483920", "code 483920", "¹²³⁴", "123", "1" * 11, "1" * 5000]
)
def test_what_cannot_be_a_code_is_none(text: str) -> None:
    assert typed_code(text) == ""


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
