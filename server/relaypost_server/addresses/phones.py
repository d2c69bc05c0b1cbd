"""Phone numbers, checked and brought into one form."""

import re
from dataclasses import dataclass
from functools import cache
from urllib.parse import unquote

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumber, PhoneNumberFormat, ValidationResult

from relaypost_server.addresses.errors import AddressError
from relaypost_server.addresses.legacy_phones import COUNTRIES, in_present_form
from relaypost_server.core.adjustments import AdjustmentKind
from relaypost_server.core.characters import without_format_characters
from relaypost_server.core.typed_numbers import LONGEST, plain

Change = tuple[AdjustmentKind, str]
"""What was done to a number, and a sentence about it for people."""

_PHONE = re.compile(r"\(?\+?[0-9 ()./-]{3,40}")
_IS_PLAIN = re.compile(r"\+[1-9][0-9]{6,14}").fullmatch
_INTERNATIONAL_PREFIX = re.compile(r"[ (]*\+?[ (]*00[ .-]*(?=[1-9])")
"""00 before a country code, also after a needless "+": no country code begins with 0."""
_URI = re.compile(r"(?:tel|sms|smsto):(?://)?([^;?&]+)(.*)", re.IGNORECASE | re.DOTALL)
_URI_CONTEXT = re.compile(r";phone-context=(\+[0-9.()-]+)", re.IGNORECASE)
_URI_EXTENSION = re.compile(r";(?:ext|isub)=", re.IGNORECASE)
_TRAILING = ",; \t\r\n"
"""What follows a number in a list."""
_REASONS = {
    ValidationResult.TOO_SHORT: "is too short for a phone number",
    ValidationResult.TOO_LONG: "is too long for a phone number",
    ValidationResult.INVALID_COUNTRY_CODE: "has no known country code",
}
_TRIMMED = (AdjustmentKind.TRIMMED, "space or punctuation around the number, or invisible characters, were dropped")
_PREFIX_READ = (AdjustmentKind.REWRITTEN, "00 was read as the + of an international number")
_REWRITTEN = (
    AdjustmentKind.REWRITTEN,
    "the number was given in a form of the past, or of use within its country alone",
)
_NOT_A_PHONE = "is not a phone number such as +14155550123"
_WHATSAPP = "names WhatsApp, which the gateway does not send by: give the number alone to send a text message"
_MORE_THAN_A_NUMBER = "is a link that holds more than a number: give the number alone"
_EXTENSION = "has an extension, which no message reaches: give the number without it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phone:
    """A number in E.164 and the ISO 3166-1 alpha-2 code of its country ("" for none)."""

    number: str
    country: str
    changes: tuple[Change, ...] = ()
    """What was read other than it stands there: neither the grouping nor the script of digits counts."""


def parse_phone(text: str, region: str = "") -> Phone:
    """An E.164 number, or a national one of `region`. Raises AddressError.

    Takes what people paste: digits of every script, dashes of every kind, invisible characters, a tel: or sms:
    URI, 00 for the + where there is no region, and forms that a country has given up. Only the form is
    checked: whether a number is assigned changes daily.
    """
    changes: list[Change] = []
    typed = text if _IS_PLAIN(text) else _cleaned(text, region, changes)
    parsed = _parsed(typed, region)
    number = in_present_form(parsed)
    possible = phonenumbers.is_possible_number_with_reason(number)
    if possible != ValidationResult.IS_POSSIBLE:
        raise AddressError(_REASONS.get(possible, "is not a whole phone number"))
    written = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    if number is not parsed or (written != typed and _is_rewritten(typed, number)):
        changes.append(_REWRITTEN)
    country = phonenumbers.region_code_for_number(number) or ""
    return Phone(number=written, country=country if country.isalpha() else "", changes=tuple(changes))


def as_sent_to(number: str) -> str:
    """A number in E.164 that a provider names, as a message to it is on record: carriers keep to old forms, too."""
    if not number.startswith(COUNTRIES):
        return number
    try:
        return parse_phone(number).number
    except AddressError:
        return number


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


def _cleaned(text: str, region: str, changes: list[Change]) -> str:
    """What was typed, in the characters that a number may have; adds to the changes. Raises AddressError."""
    if len(text) > LONGEST:
        raise AddressError(_NOT_A_PHONE)
    seen = without_format_characters(text).strip().rstrip(_TRAILING)
    if seen != text:
        changes.append(_TRIMMED)
    typed = plain(_of_uri(seen))
    if not _PHONE.fullmatch(typed):
        raise AddressError(_EXTENSION if _has_extension(typed, region) else _NOT_A_PHONE)
    prefix = _INTERNATIONAL_PREFIX.match(typed)
    if prefix is not None and (not region or "+" in typed):
        typed = f"+{typed[prefix.end() :]}"
        changes.append(_PREFIX_READ)
    if "+" not in typed and not region:
        raise AddressError("needs the form +14155550123, or a region_code beside it")
    return typed


def _of_uri(text: str) -> str:
    """The number of a tel: URI or of an sms: URI (RFC 5724); any other text as it is. Raises AddressError."""
    if text.lower().startswith("whatsapp:"):
        raise AddressError(_WHATSAPP)
    uri = _URI.fullmatch(text)
    if uri is None:
        return text
    number, parameters = unquote(uri[1]), uri[2]
    if "?" in parameters or "&" in parameters:
        raise AddressError(_MORE_THAN_A_NUMBER)
    if _URI_EXTENSION.search(parameters):
        raise AddressError(_EXTENSION)
    context = _URI_CONTEXT.search(parameters)
    return f"{context[1]}{number}" if context and not number.startswith("+") else number


def _has_extension(text: str, region: str) -> bool:
    """Whether it is a number with one, in any of the forms that the library knows: "ext. 5", "x5", "доб. 5"."""
    try:
        return bool(_parsed(text, region).extension)
    except AddressError:
        return False


def _parsed(text: str, region: str) -> PhoneNumber:
    load_numbering_plans()
    try:
        return phonenumbers.parse(text, region or None)
    except NumberParseException:
        raise AddressError("is not a phone number of any known country") from None


def _is_rewritten(typed: str, number: PhoneNumber) -> bool:
    """Whether other digits are called than were typed; prefixes that are left out abroad do not count."""
    digits = "".join(c for c in typed if c.isdigit())
    return not digits.endswith(phonenumbers.national_significant_number(number))
