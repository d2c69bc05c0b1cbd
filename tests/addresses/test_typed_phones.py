"""Ten thousand numbers of all countries, in eight forms in which people type and paste them."""

from collections import Counter
from collections.abc import Iterator

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberFormat, PhoneNumberType

from relaypost_server.addresses.errors import AddressError
from relaypost_server.addresses.phones import parse_phone

COUNT = 10_000
TYPES = [t for t in PhoneNumberType.values() if t != PhoneNumberType.UNKNOWN]
ARABIC = {ord("0") + n: chr(0x660 + n) for n in range(10)}
FULL_WIDTH = {code: chr(code + 0xFEE0) for code in range(0x21, 0x7F)}
WITH_WORD = {ord("-"): "\u2011", ord(" "): "\u00a0"}
"""As a word processor writes them."""


def numbers() -> Iterator[tuple[str, PhoneNumber]]:
    """The library's example numbers with their region, and their valid neighbours, by turns of the regions."""
    turns = [valid(region) for region in sorted(phonenumbers.SUPPORTED_REGIONS)]
    while turns:
        found = [(turn, next(turn, None)) for turn in turns]
        turns = [turn for turn, each in found if each is not None]
        yield from (each for _, each in found if each is not None)


def valid(region: str) -> Iterator[tuple[str, PhoneNumber]]:
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
                yield region, number


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
    for _, (region, number) in zip(range(COUNT), numbers(), strict=False):
        regions.add(region)
        e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
        for form, (text, where) in forms(region, number).items():
            found = read(text, where)
            if found.startswith("+") and found != e164:
                wrong.append((form, text, found))
            refused[form] += not found.startswith("+")
    assert len(regions) > 200
    assert wrong == []
    assert refused.total() <= COUNT / 100, refused
