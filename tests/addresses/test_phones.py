"""Phone numbers."""

import pytest
from hypothesis import given, strategies as st

from relaypost_server.addresses.errors import AddressError
from relaypost_server.addresses.phones import Phone, is_region, parse_phone


@pytest.mark.parametrize(
    ("text", "region", "phone"),
    [
        ("+14155550123", "", Phone(number="+14155550123", country="US")),
        ("+1 (415) 555-0123", "", Phone(number="+14155550123", country="US")),
        ("0151 12345678", "DE", Phone(number="+4915112345678", country="DE")),
        ("+4915112345678", "US", Phone(number="+4915112345678", country="DE")),
        ("+883510012345678", "", Phone(number="+883510012345678", country="")),
    ],
)
def test_phone_numbers(text: str, region: str, phone: Phone) -> None:
    assert parse_phone(text, region) == phone


@pytest.mark.parametrize(
    ("text", "region"),
    [
        *(("", ""), ("hello", ""), ("+1", ""), ("4155550123", ""), ("+1415555012345678", ""), ("+999123456789", "")),
        *(("555-0123", "US"), ("1-800-FLOWERS", "US"), ("+14155550123;ext=5", ""), ("+14155550123 ext. 5", "")),
        *(("+14155550123\n", ""), ("+١٤١٥٥٥٥٠١٢٣", ""), ("+" * 30, ""), ("tel:+14155550123", "")),
    ],
)
def test_no_phone_numbers(text: str, region: str) -> None:
    with pytest.raises(AddressError):
        parse_phone(text, region)


@given(st.text(max_size=40), st.sampled_from(["", "US", "DE"]))
def test_no_text_makes_parsing_a_number_an_accident(text: str, region: str) -> None:
    try:
        phone = parse_phone(text, region)
    except AddressError:
        return
    assert phone.number.startswith("+")
    assert phone.number[1:].isdecimal()
    assert len(phone.number) <= 16


def test_regions() -> None:
    assert is_region("US")
    assert not any(is_region(code) for code in ("us", "XX", "USA", "", "001"))
