"""Reads addresses out of requests, and tells what was changed in them."""

from relaypost_server.addresses.emails import looks_like_email, read_email
from relaypost_server.addresses.errors import AddressError
from relaypost_server.addresses.phones import Phone, is_region, parse_phone
from relaypost_server.api.violations import Violations

NO_PHONE = Phone(number="", country="")
"""Stands for a number that there is a complaint about."""


def read_email_address(field: str, text: str, bad: Violations) -> str:
    """An email address in its final form; "" for none, and with a complaint where the text is not one."""
    if not text:
        return ""
    try:
        found = read_email(text)
    except AddressError as error:
        bad.add(field, str(error))
        return ""
    bad.adjusted_each(field, found.changes)
    return found.address


def read_phone(field: str, number: str, region_field: str, region: str, bad: Violations) -> Phone:
    """The number; `NO_PHONE` with a complaint where it is none."""
    if region and not is_region(region):
        bad.add(region_field, "is not an ISO 3166-1 code such as US")
        return NO_PHONE
    if not number:
        bad.add(field, "is required")
        return NO_PHONE
    try:
        phone = parse_phone(number, region)
    except AddressError as error:
        bad.add(field, str(error))
        return NO_PHONE
    bad.adjusted_each(field, phone.changes)
    return phone


def read_recipient(field: str, text: str, bad: Violations) -> str:
    """An email address, or a phone number in E.164; "" for none, and with a complaint where the text is neither."""
    if not text or looks_like_email(text):
        return read_email_address(field, text, bad)
    return read_phone(field, text, "", "", bad).number
