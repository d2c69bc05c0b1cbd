"""Email addresses."""

import pytest
from email_validator import validate_email
from hypothesis import given, settings, strategies as st

from relaypost_server.addresses.emails import _PLAIN_EMAIL, parse_email
from relaypost_server.addresses.errors import AddressError

LOCAL = st.text("abcXYZ0189._+-", min_size=1, max_size=66)
DOMAIN = st.text("abcxyz0189.-", min_size=1, max_size=80)


@settings(max_examples=2000)
@given(LOCAL, DOMAIN)
def test_the_short_way_never_takes_what_the_library_refuses_or_changes(local: str, domain: str) -> None:
    address = f"{local}@{domain}"
    if _PLAIN_EMAIL.fullmatch(address) and "--" not in address:
        library = validate_email(
            address, check_deliverability=False, allow_smtputf8=False, globally_deliverable=False, strict=True
        )
        assert library.ascii_email == address


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("ada@example.com", "ada@example.com"),
        ("Ada.Lovelace+x@EXAMPLE.com", "Ada.Lovelace+x@example.com"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada@localhost", "ada@localhost"),
        ("ada@mail.internal", "ada@mail.internal"),
    ],
)
def test_addresses_in_their_final_form(text: str, parsed: str) -> None:
    assert parse_email(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        *("", "ada", "@example.com", "ada@", "a b@example.com", "ada@exa mple.com", "ada@@example.com"),
        *("ada@example..com", ".ada@example.com", "ada.@example.com", "a..b@example.com", "<ada@example.com>"),
        *("Ada <ada@example.com>", "ada@example.com\n", "ada@example.com\r\nRCPT TO:<x@y.z>", "ada\x00@example.com"),
        *("ünï@example.com", "ada@-example.com", "ada@example.com,bob@example.com", '"a b"@example.com'),
        *("ada@[127.0.0.1]", "a" * 65 + "@example.com", "a@" + "b" * 64 + ".com", "a@" + "b." * 130 + "com"),
    ],
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(AddressError):
        parse_email(text)


@given(st.text(max_size=60))
def test_no_text_makes_parsing_an_address_an_accident(text: str) -> None:
    try:
        parsed = parse_email(text)
    except AddressError:
        return
    assert parsed.isascii()
    assert parsed.isprintable()
