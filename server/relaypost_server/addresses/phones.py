"""Phone numbers, checked and brought into one form."""

import re
from dataclasses import dataclass
from functools import cache

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumberFormat, ValidationResult

from relaypost_server.addresses.errors import AddressError

_PHONE = re.compile(r"\+?[0-9 ()./-]{3,32}")
_REASONS = {
    ValidationResult.TOO_SHORT: "is too short for a phone number",
    ValidationResult.TOO_LONG: "is too long for a phone number",
    ValidationResult.INVALID_COUNTRY_CODE: "has no known country code",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Phone:
    """A number in E.164 and the ISO 3166-1 alpha-2 code of its country ("" for none)."""

    number: str
    country: str


def parse_phone(text: str, region: str = "") -> Phone:
    """An E.164 number, or a national one of `region`. Raises AddressError.

    Only the form is checked: whether a number is assigned changes daily.
    """
    if not _PHONE.fullmatch(text):
        raise AddressError("is not a phone number such as +14155550123")
    load_numbering_plans()
    if not text.startswith("+") and not region:
        raise AddressError("needs the form +14155550123, or a region_code beside it")
    try:
        number = phonenumbers.parse(text, region or None)
    except NumberParseException:
        raise AddressError("is not a phone number of any known country") from None
    possible = phonenumbers.is_possible_number_with_reason(number)
    if possible != ValidationResult.IS_POSSIBLE:
        raise AddressError(_REASONS.get(possible, "is not a whole phone number"))
    country = phonenumbers.region_code_for_number(number) or ""
    return Phone(
        number=phonenumbers.format_number(number, PhoneNumberFormat.E164),
        country=country if country.isalpha() else "",
    )


@cache
def load_numbering_plans() -> None:
    """Reads every country's numbering plan, once; 0.1 s of processor time. Raises ImportError or OSError.

    phonenumbers reads a country's at its first number, under a lock that it does
    not give back when the file cannot be opened: no number could be read from then on.
    """
    PhoneMetadata.load_all()


def is_region(code: str) -> bool:
    """Whether a region has phone numbers of its own: ISO 3166-1 alpha-2, upper case."""
    return code in phonenumbers.SUPPORTED_REGIONS
