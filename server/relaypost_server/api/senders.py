"""Reads who a text message comes from."""

from relaypost_server.addresses.errors import AddressError
from relaypost_server.addresses.phones import parse_phone
from relaypost_server.api.violations import Violations
from relaypost_server.core.adjustments import AdjustmentKind
from relaypost_server.core.characters import without_format_characters
from relaypost_server.core.senders import LONGEST_NAME, is_sender_id, is_sender_number
from relaypost_server.core.typed_numbers import LONGEST, plain


def read_sender_id(field: str, text: str, bad: Violations) -> str:
    """The name that the phone shows; "" for none."""
    name = plain(text[:LONGEST]).strip()
    if not name or not is_sender_id(name):
        if text:
            bad.add(field, _NO_NUMBER if is_sender_number(name) else _NO_NAME)
        return ""
    if name != text:
        bad.adjusted(field, AdjustmentKind.TRIMMED, "space or invisible characters were dropped, or made plain ones")
    return name


def read_sender_number(field: str, text: str, bad: Violations) -> str:
    """A number in E.164, or a short code; "" for none."""
    if not text:
        return ""
    visible = without_format_characters(text[:LONGEST]).strip()
    digits = plain(visible)
    if is_sender_number(digits) and not digits.startswith("+"):
        if visible != text:
            bad.adjusted(field, AdjustmentKind.TRIMMED, "space or invisible characters were dropped")
        return digits
    try:
        phone = parse_phone(text)
    except AddressError as error:
        bad.add(field, f"{error}; a short code has 3 to 8 digits")
        return ""
    bad.adjusted_each(field, phone.changes)
    return phone.number


_NO_NAME = f'must have 1 to {LONGEST_NAME} of letters, digits, spaces and "&.-_+", at least one letter'
_NO_NUMBER = "is a number: give it as the sender_number"
