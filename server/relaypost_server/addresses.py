"""Email addresses and phone numbers, checked and brought into one form."""

import re
from dataclasses import dataclass
from functools import cache

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumberFormat, ValidationResult

_PLAIN_EMAIL = re.compile(
    r"(?=.{6,254}\Z)(?=[^@]{1,64}@)[a-zA-Z0-9_+-]+(?:\.[a-zA-Z0-9_+-]+)*"
    r"@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}"
)
"""What nearly all addresses look like: valid, and in their final form as they stand."""
_PHONE = re.compile(r"\+?[0-9 ()./-]{3,32}")
_REASONS = {
    ValidationResult.TOO_SHORT: "is too short for a phone number",
    ValidationResult.TOO_LONG: "is too long for a phone number",
    ValidationResult.INVALID_COUNTRY_CODE: "has no known country code",
}


class AddressError(ValueError):
    """Why the text is no address; the reason never repeats the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phone:
    """A number in E.164 and the ISO 3166-1 alpha-2 code of its country ("" for none)."""

    number: str
    country: str


def parse_email(text: str) -> str:
    """The address in ASCII, its domain in lower case. Raises AddressError.

    Whether the domain takes mail is for the providers to find out.
    """
    if _PLAIN_EMAIL.fullmatch(text) and "--" not in text:
        return text
    if "=?" in text:  # Mail servers have been seen to decode it, and to find another address inside.
        raise AddressError("must not be an encoded word (RFC 2047)")
    return _uncommon_email(text)


def _uncommon_email(text: str) -> str:
    """As `parse_email`. Its library is loaded by `assembly.preload`, once the gateway serves."""
    import email_validator

    email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()  # A gateway of one's own may well send to mail.local or localhost.
    try:
        found = email_validator.validate_email(
            text, check_deliverability=False, allow_smtputf8=False, globally_deliverable=False, strict=True
        )
    except email_validator.EmailNotValidError:
        raise AddressError("is not an email address such as ada@example.com") from None
    if found.ascii_email is None:
        raise AddressError("must be ASCII before the @")
    return found.ascii_email


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
