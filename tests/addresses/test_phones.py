"""Phone numbers."""

import re

import pytest
from hypothesis import given, strategies as st

from relaypost_server.addresses.errors import AddressError
from relaypost_server.addresses.phones import Phone, is_region, parse_phone
from relaypost_server.core.adjustments import AdjustmentKind

BERLIN = "+493012345678"
MARKS = "\u202a\u202c\u2066\u2069\u200b\u200e\ufeff\u00ad"
DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d\u30fc"
SPACES = " \u00a0\u2007\u2009\u202f\u3000"


def kinds(phone: Phone) -> list[AdjustmentKind]:
    return [kind for kind, _ in phone.changes]


@pytest.mark.parametrize(
    ("text", "region", "phone"),
    [
        ("+14155550123", "", Phone(number="+14155550123", country="US")),
        ("+1 (415) 555-0123", "", Phone(number="+14155550123", country="US")),
        ("(+1) 415.555.0123", "", Phone(number="+14155550123", country="US")),
        ("+44 (0) 20 7946 0958", "", Phone(number="+442079460958", country="GB")),
        ("+39 (0)6 12345678", "", Phone(number="+390612345678", country="IT")),
        ("0151 12345678", "DE", Phone(number="+4915112345678", country="DE")),
        ("00 1 415 555 0123", "DE", Phone(number="+14155550123", country="US")),
        ("011 44 20 7946 0958", "US", Phone(number="+442079460958", country="GB")),
        ("+4915112345678", "US", Phone(number="+4915112345678", country="DE")),
        ("+883510012345678", "", Phone(number="+883510012345678", country="")),
    ],
)
def test_phone_numbers(text: str, region: str, phone: Phone) -> None:
    assert parse_phone(text, region).number == phone.number
    assert parse_phone(text, region).country == phone.country


@pytest.mark.parametrize(
    "text",
    [
        *(
            "+1\u2011415\u2011555\u20110123",
            "\uff0b14155550123",
            "+1\uff0d415\uff0d555\uff0d0123",
            "+1 （415） 555 0123",
        ),
        *(
            "+١٤١٥٥٥٥٠١٢٣",
            "+१४१५५५५०१२३",
            "＋１４１５５５５０１２３",
            "+1٤١٥5550123",
            "+1。415。555。0123",
        ),
        *("tel:+1-415-555-0123", "TEL:+14155550123", "tel:%2B1%20415-555-0123", "tel:555-0123;phone-context=+1415"),
        *("tel:+1-415-555-0123;foo=bar", "tel://+14155550123", "sms:+14155550123", "SMSTO:+1%20415-555-0123"),
    ],
)
def test_a_number_in_other_characters_is_the_same_number_unchanged(text: str) -> None:
    assert parse_phone(text) == Phone(number="+14155550123", country="US")


@pytest.mark.parametrize(
    "text",
    [
        "\u202a+14155550123\u202c",
        " +14155550123",
        "\ufeff+1415\u200b5550123\n",
        "\u00a0+1\u00ad4155550123\t",
        "+14155550123,",
        "+1 415 555 0123 ; ",
    ],
)
def test_space_punctuation_and_invisible_characters_around_a_number_are_dropped_and_told(text: str) -> None:
    phone = parse_phone(text)
    assert (phone.number, kinds(phone)) == ("+14155550123", [AdjustmentKind.TRIMMED])


@pytest.mark.parametrize(
    "text", ["0044 20 7946 0958", "00 44 (0) 20 7946 0958", "+0044 20 7946 0958", "(0044) 2079460958"]
)
def test_00_is_read_as_plus_where_there_is_no_region(text: str) -> None:
    phone = parse_phone(text)
    assert (phone.number, kinds(phone)) == ("+442079460958", [AdjustmentKind.REWRITTEN])


def test_a_region_says_what_00_means() -> None:
    with pytest.raises(AddressError):
        parse_phone("0044 20 7946 0958", "US")
    assert parse_phone("0044 20 7946 0958", "DE").number == "+442079460958"


@pytest.mark.parametrize(
    ("text", "region", "number"),
    [
        ("+5215512345678", "", "+525512345678"),
        ("+52 1 55 1234 5678", "", "+525512345678"),
        ("0052 1 55 1234 5678", "", "+525512345678"),
        ("1 55 1234 5678", "MX", "+525512345678"),
        ("044 55 1234 5678", "MX", "+525512345678"),
        ("045 55 1234 5678", "MX", "+525512345678"),
        ("01 55 1234 5678", "MX", "+525512345678"),
        ("+54 11 15 2345 6789", "", "+5491123456789"),
        ("+54111523456789", "", "+5491123456789"),
        ("+54 9 11 15 2345 6789", "", "+5491123456789"),
        ("+54 343 15 555 1212", "", "+5493435551212"),
        ("+54 9 343 15 555 1212", "", "+5493435551212"),
        ("011 15 2345 6789", "AR", "+5491123456789"),
        ("15 2345 6789", "AR", "+5491123456789"),
    ],
)
def test_forms_of_the_past_are_rewritten_and_told(text: str, region: str, number: str) -> None:
    phone = parse_phone(text, region)
    assert phone.number == number
    assert AdjustmentKind.REWRITTEN in kinds(phone)


@pytest.mark.parametrize(
    "number", ["+525512345678", "+5491123456789", "+541123456789", "+543715654320", "+541143211515", "+529991234567"]
)
def test_numbers_in_their_present_form_stay(number: str) -> None:
    phone = parse_phone(number)
    assert (phone.number, phone.changes) == (number, ())


@pytest.mark.parametrize(
    ("text", "region"),
    [
        *(("", ""), ("hello", ""), ("+1", ""), ("4155550123", ""), ("+1415555012345678", ""), ("+999123456789", "")),
        *(
            ("555-0123", "US"),
            ("1-800-FLOWERS", "US"),
            ("+" * 30, ""),
            ("+1415\n5550123", ""),
            ("+1415\x005550123", ""),
        ),
        *(("+14155550123, +14155550124", ""), ("tel:", ""), ("tel:;ext=5", ""), ("tel:555-0123", ""), ("+5211", "")),
        *(
            ("+" + "1" * 5000, ""),
            ("+1415555012¹", ""),
            ("sms:+14155550123,+14155550124", ""),
            ("+1 415 555 0123\u2028+1", ""),
        ),
    ],
)
def test_texts_that_are_no_number_are_refused(text: str, region: str) -> None:
    with pytest.raises(AddressError):
        parse_phone(text, region)


@pytest.mark.parametrize(
    ("text", "region"),
    [
        *(("+14155550123;ext=5", ""), ("+14155550123 ext. 5", ""), ("415 555 0123 x5", "US"), ("+14155550123#5", "")),
        *(("tel:+14155550123;ext=5", ""), ("+1 415 555 0123 доб. 5", "")),
    ],
)
def test_an_extension_is_refused_and_the_cure_is_told(text: str, region: str) -> None:
    with pytest.raises(AddressError, match=r"extension.* give the number without it"):
        parse_phone(text, region)


@given(
    st.lists(st.sampled_from(SPACES + DASHES + MARKS + "./"), min_size=len(BERLIN), max_size=len(BERLIN)),
    st.sampled_from(["", " ", "\u202a", "\ufeff\u00a0"]),
    st.sampled_from([0x30, 0x660, 0x966, 0xFF10, 0x1D7CE]),
    st.sampled_from("+\uff0b\ufe62"),
)
def test_a_number_between_any_dashes_spaces_and_marks_is_the_same(
    between: list[str], before: str, zero: int, plus: str
) -> None:
    digits = [chr(zero + int(c)) for c in BERLIN[1:]]
    text = before + plus + "".join(digit + mark for digit, mark in zip(digits, between, strict=False)) + before
    assert parse_phone(text).number == BERLIN


@given(st.text(max_size=40), st.sampled_from(["", "US", "DE", "MX", "AR"]))
def test_every_text_is_a_number_or_raises_address_error(text: str, region: str) -> None:
    check(text, region)


@given(
    st.text("0123456789+()-. \u202a\u2011٤４;=xetl:%AB\n", max_size=60),
    st.sampled_from(["", "US", "DE", "MX", "AR", "IT"]),
)
def test_every_text_like_a_number_is_one_or_raises_address_error(text: str, region: str) -> None:
    check(text, region)
    check(f"tel:{text}", region)


def check(text: str, region: str) -> None:
    try:
        phone = parse_phone(text, region)
    except AddressError:
        return
    assert re.fullmatch(r"\+[1-9][0-9]{3,16}", phone.number)
    assert all(len(what) <= 200 for _, what in phone.changes)
    again = parse_phone(phone.number)
    assert (again.number, again.country, again.changes) == (phone.number, phone.country, ())


def test_regions() -> None:
    assert is_region("US")
    assert not any(is_region(code) for code in ("us", "XX", "USA", "", "001"))


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("whatsapp:+14155550123", "WhatsApp.* give the number alone"),
        ("sms:+14155550123?body=Hi", "give the number alone"),
        ("sms:+14155550123&body=Hi", "give the number alone"),
        ("tel:+14155550123?x=1", "give the number alone"),
    ],
)
def test_a_link_that_says_more_than_a_number_is_refused_with_the_cure(text: str, cure: str) -> None:
    with pytest.raises(AddressError, match=cure):
        parse_phone(text)
