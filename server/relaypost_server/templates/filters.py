"""What a template can do with a value: the filters.

Dates, numbers and plurals follow CLDR in the language of the message. There is
no filter that doubles a text each time it is used, so that no chain of them
makes a long text of a short one.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale, dates, numbers
from jinja2 import TemplateRuntimeError, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

FORMATS = "_formats"
"""The name under which a rendering's context keeps its babel.Locale."""

_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,9})?")
_LENGTHS = ("short", "medium", "long", "full")
_CURRENCY = re.compile("[A-Z]{3}")
_PLURALS = frozenset({"zero", "one", "two", "few", "many", "other"})


class FilterError(TemplateRuntimeError):
    """A filter cannot work on what it was given. Never repeats a value."""


def parse_number(text: str) -> Decimal:
    """A number such as 12, -3.50. Raises ValueError."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("is not a number such as 12.50")
    return Decimal(text)


def parse_date(text: str) -> date:
    """A day such as 2026-07-04. Raises ValueError."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("is not a date such as 2026-07-04") from None


def parse_datetime(text: str) -> datetime:
    """A moment such as 2026-07-04T18:30:00Z; its offset from UTC is needed. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError("is not a time such as 2026-07-04T18:30:00Z")
    return moment


@pass_context
def number(context: Context, value: object) -> str:
    return numbers.format_decimal(_read(parse_number, value), locale=_locale(context))


@pass_context
def percent(context: Context, value: object) -> str:
    """0.25 as 25 %."""
    return numbers.format_percent(_read(parse_number, value), locale=_locale(context))


@pass_context
def currency(context: Context, value: object, code: str) -> str:
    """`code` is one of ISO 4217, such as EUR."""
    if not _CURRENCY.fullmatch(str(code)):
        raise FilterError("currency needs a code such as EUR")
    return numbers.format_currency(_read(parse_number, value), str(code), locale=_locale(context))


@pass_context
def day(context: Context, value: object, length: str = "long") -> str:
    return dates.format_date(_read(parse_date, value), _length(length), locale=_locale(context))


@pass_context
def time(context: Context, value: object, length: str = "short", timezone: str = "") -> str:
    moment = _read(parse_datetime, value)
    return dates.format_time(moment, _length(length), tzinfo=_zone(moment, timezone), locale=_locale(context))


@pass_context
def moment(context: Context, value: object, length: str = "long", timezone: str = "") -> str:
    """Without a time zone such as Europe/Berlin, the time is told at the offset that it came with."""
    read = _read(parse_datetime, value)
    return dates.format_datetime(read, _length(length), tzinfo=_zone(read, timezone), locale=_locale(context))


@pass_context
def plural(context: Context, value: object, *, other: str, **forms: str) -> str:
    """The form that goes with a number: plural(one="# day", other="# days"); # stands for the number.

    The forms are those of CLDR: zero, one, two, few, many, other. A form that
    is not given is told by `other`.
    """
    if not forms.keys() <= _PLURALS:
        raise FilterError("plural knows the forms zero, one, two, few, many and other")
    read = _read(parse_number, value)
    locale = _locale(context)
    form = forms.get(locale.plural_form(read), other)
    return form.replace("#", numbers.format_decimal(read, locale=locale))


def lines(value: object) -> list[str]:
    """The lines of a text, to be looped over."""
    return str(value).split("\n")


def split(value: object, separator: str = ",") -> list[str]:
    """The trimmed parts of a text, to be looped over."""
    if not separator:
        raise FilterError("split needs a separator")
    return [part.strip() for part in str(value).split(separator)]


def breaks(value: str) -> Markup:
    """The text for html, its line breaks kept."""
    return Markup("<br>\n").join(escape(value).split("\n"))


def upper(value: object) -> str:
    return str(value).upper()


def lower(value: object) -> str:
    return str(value).lower()


def trim(value: object) -> str:
    return str(value).strip()


FILTERS: Mapping[str, Callable[..., Any]] = {
    "breaks": breaks,
    "currency": currency,
    "date": day,
    "datetime": moment,
    "e": escape,
    "escape": escape,
    "length": len,
    "lines": lines,
    "lower": lower,
    "number": number,
    "percent": percent,
    "plural": plural,
    "split": split,
    "time": time,
    "trim": trim,
    "upper": upper,
}


def _locale(context: Context) -> Locale:
    locale = context[FORMATS]
    if not isinstance(locale, Locale):
        raise FilterError(f"{FORMATS} is not for templates")
    return locale


def _read(parse: Callable[[str], Any], value: object) -> Any:
    if value == "":
        raise FilterError("a filter was given nothing: an optional variable needs an {% if %} around it")
    try:
        return parse(str(value))
    except (ValueError, InvalidOperation) as error:
        raise FilterError(f"the value of a filter {error}") from None


def _length(length: str) -> Any:
    if length not in _LENGTHS:
        raise FilterError("the length of a date or time is short, medium, long or full")
    return length


def _zone(moment: datetime, name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name) if name else moment.tzinfo
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError.
        raise FilterError("the time zone is not one such as Europe/Berlin") from None
