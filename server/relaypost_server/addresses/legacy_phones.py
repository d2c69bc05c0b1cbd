"""Phone numbers in forms that their countries have given up, and that people still have in their contacts."""

import re
from collections.abc import Callable, Mapping

import phonenumbers
from phonenumbers import PhoneNumber

_MEXICO, _ARGENTINA = 52, 54
"""Country codes."""
COUNTRIES = (f"+{_MEXICO}", f"+{_ARGENTINA}")
"""Numbers that begin so may be in an old form."""
_OLD_MEXICAN = re.compile(r"(?:1|01|044|045)([0-9]{10})")
"""1 was put before mobile numbers from abroad, the others within the country, all until August 2019 (IFT)."""
_BOTH = 13
"""Digits of an Argentine number with a 9, the area code, a 15 and the rest."""
_LOCAL_15 = re.compile(r"9?15([0-9]{8})")
"""Of Buenos Aires (area code 11): everywhere else a local number has fewer digits."""


def in_present_form(number: PhoneNumber) -> PhoneNumber:
    """The number as it is called today; the same one where it already is."""
    rewrite = _FORMS.get(number.country_code or 0)
    return number if rewrite is None else rewrite(number)


def _mexican(number: PhoneNumber) -> PhoneNumber:
    found = _OLD_MEXICAN.fullmatch(phonenumbers.national_significant_number(number))
    return number if found is None else _number(_MEXICO, found[1])


def _argentine(number: PhoneNumber) -> PhoneNumber:
    """Mobile numbers have a 9 from abroad, or a 15 after the area code within the country, never both.

    The library knows where area codes end, and makes a 9 of the 15.
    """
    national = phonenumbers.national_significant_number(number)
    if local := _LOCAL_15.fullmatch(national):
        return _number(_ARGENTINA, f"911{local[1]}")
    if len(national) == _BOTH and national.startswith("9"):
        return phonenumbers.parse(f"+{_ARGENTINA}{national[1:]}")
    return number


def _number(country: int, national: str) -> PhoneNumber:
    return PhoneNumber(country_code=country, national_number=int(national))


_FORMS: Mapping[int, Callable[[PhoneNumber], PhoneNumber]] = {_MEXICO: _mexican, _ARGENTINA: _argentine}
