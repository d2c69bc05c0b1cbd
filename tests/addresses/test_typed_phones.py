"""Ten thousand numbers of all countries, in eight forms in which people type and paste them."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberFormat, PhoneNumberType

from relaypost_server.addresses.errors import AddressError
from relaypost_server.addresses.phones import parse_phone

COUNT = 10_000
EACH = 42
"""Numbers of one region, at most; a few regions have fewer."""
TYPES = [t for t in PhoneNumberType.values() if t != PhoneNumberType.UNKNOWN]
ARABIC = {ord("0") + n: chr(0x660 + n) for n in range(10)}
FULL_WIDTH = {code: chr(code + 0xFEE0) for code in range(0x21, 0x7F)}
WITH_WORD = {ord("-"): "\u2011", ord(" "): "\u00a0"}
"""As a word processor writes them."""


def valid(region: str) -> Iterator[PhoneNumber]:
    """The library's example numbers of a region and their valid neighbours."""
    examples = [phonenumbers.example_number_for_type(region, t) for t in TYPES]
    known = [example for example in examples if example is not None]
    seen = set()
    for step in range(2000):
        for example in known:
            number = PhoneNumber()
            number.merge_from(example)
            number.national_number = (example.national_number or 0) + step * 37
            written = phonenumbers.format_number(number, PhoneNumberFormat.E164)
            if written not in seen and phonenumbers.is_valid_number_for_region(number, region):
                seen.add(written)
                yield number


def forms(region: str, number: PhoneNumber) -> dict[str, tuple[str, str]]:
    """The text and the region of each form."""

    def written(form: int) -> str:
        return phonenumbers.format_number(number, form)

    e164, international = written(PhoneNumberFormat.E164), written(PhoneNumberFormat.INTERNATIONAL)
    return {
        "as it is kept": (e164, ""),
        "out of a word processor": (international.translate(WITH_WORD), ""),
        "out of a phone's contacts": (f"\u202a{e164}\u202c", ""),
        "full-width": (international.translate(FULL_WIDTH), ""),
        "in Arabic digits": (international.translate(ARABIC), ""),
        "with 00": (f"00{international[1:]}", ""),
        "as a URI": (written(PhoneNumberFormat.RFC3966), ""),
        "as at home": (written(PhoneNumberFormat.NATIONAL), region),
    }


def read(text: str, region: str) -> str:
    try:
        return parse_phone(text, region).number
    except AddressError as error:
        return str(error)


def test_ten_thousand_numbers_in_eight_forms_are_the_same_number_or_a_named_error() -> None:
    regions: set[str] = set()
    wrong: list[tuple[str, str, str]] = []
    refused: Counter[str] = Counter()
    count = 0
    # One region after the other: the library's patterns of all regions together do not fit into the cache of `re`.
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for number in islice(valid(region), EACH):
            regions.add(region)
            count += 1
            e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
            for form, (text, where) in forms(region, number).items():
                found = read(text, where)
                if found.startswith("+") and found != e164:
                    wrong.append((form, text, found))
                refused[form] += not found.startswith("+")
    assert count >= COUNT
    assert len(regions) > 200
    assert wrong == []
    assert refused.total() <= COUNT / 100, refused
