"""Reads phone numbers out of requests."""

from relaypost_server.addresses.errors import AddressError
from relaypost_server.addresses.phones import Phone, is_region, parse_phone
from relaypost_server.api.violations import Violations

NO_PHONE = Phone(number="", country="")
"""Stands for a number that there is a complaint about."""


def read_phone(field: str, number: str, region_field: str, region: str, bad: Violations) -> Phone:
    """The number, told what was changed in it; `NO_PHONE` with a complaint where it is none."""
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
    for kind, what in phone.changes:
        bad.adjusted(field, kind, what)
    return phone
