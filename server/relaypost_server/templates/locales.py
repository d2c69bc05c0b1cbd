"""Which of the languages at hand a reader gets: tags by BCP 47, look-up by RFC 4647.

A tag names a language, as in "pt-BR" or "zh-Hant-TW". A preference is one tag,
or a list of them as in the header Accept-Language.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from babel import Locale, UnknownLocaleError
from babel.core import get_global

LONGEST_PREFERENCE = 256
"""Characters of a preference."""

_TAG = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z]{4})?(?:[-_](?:[A-Za-z]{2}|[0-9]{3}))?(?:[-_][A-Za-z0-9]{1,8})*")
_RANGE = re.compile(r"([^;]+?)(?:\s*;\s*[qQ]\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?")
_SCRIPT_LENGTH, _LANGUAGE_LENGTH = 4, 2


class LocaleError(ValueError):
    """Why the text names no language; the reason never repeats the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The language of a message, and how dates and numbers are written in it.

    `formats` may be more precise than `tag`: who asks for "en-GB" and gets
    texts in "en" still reads dates as the British write them.
    """

    tag: str
    formats: Locale
    direction: str
    """In which the language is written: "ltr" or "rtl"."""

    @classmethod
    def of(cls, tag: str, formats: Locale | None = None) -> "Choice":
        """An available tag, with its own formats or more precise ones."""
        formats = formats or known(tag)
        return cls(tag=tag, formats=formats, direction=formats.text_direction)


def canonical(tag: str) -> str:
    """The tag as BCP 47 recommends it: pt-BR, zh-Hant-TW. Raises LocaleError."""
    if not _TAG.fullmatch(tag):
        raise LocaleError("is not a language tag such as pt-BR")
    language, *rest = re.split("[-_]", tag)
    return "-".join([language.lower(), *(_subtag(part) for part in rest)])


def known(tag: str) -> Locale:
    """What CLDR knows about a canonical tag. Raises LocaleError."""
    try:
        return Locale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError):
        raise LocaleError("is not a language that CLDR knows") from None


def known_tag(tag: str) -> str:
    """The canonical tag of a language that CLDR knows. Raises LocaleError."""
    tag = canonical(tag)
    known(tag)
    return tag


@lru_cache(maxsize=1024)  # Preferences are few and come again and again.
def choose(preference: str, available: frozenset[str], default: str) -> Choice:
    """The best of the available tags for a preference; "" stands for none. Raises LocaleError.

    Each wish is shortened until something fits, pt-BR to pt, before the next
    one counts. `default` must be available.
    """
    for wish in _wishes(preference):
        if wish == "*":
            break
        for tag in _ever_shorter(wish):
            if tag in available:
                return Choice.of(tag, _formats(wish, tag))
    return Choice.of(default)


def _wishes(preference: str) -> list[str]:
    """Canonical tags and "*", the dearest first. What has the weight 0 is left out."""
    if len(preference) > LONGEST_PREFERENCE:
        raise LocaleError(f"has {len(preference)} characters, at most {LONGEST_PREFERENCE} are allowed")
    weighed = [_weigh(part.strip()) for part in preference.split(",") if part.strip()]
    weighed.sort(key=lambda pair: -pair[1])
    return [tag for tag, weight in weighed if weight > 0]


def _weigh(text: str) -> tuple[str, float]:
    found = _RANGE.fullmatch(text)
    if found is None:
        raise LocaleError("is not a language tag such as pt-BR, or a list such as pt-BR, en;q=0.5")
    tag, weight = found.groups()
    return tag if tag == "*" else canonical(tag), float(weight or 1)


def _ever_shorter(tag: str) -> Iterator[str]:
    """zh-TW, then zh-Hant-TW and zh-Hant, for Taiwan writes so, then zh."""
    full = get_global("likely_subtags").get(tag.replace("-", "_"), "").replace("_", "-")
    language = tag.partition("-")[0]
    yield tag
    for longer in (tag, full):
        parts = longer.split("-")
        yield from ("-".join(parts[:end]) for end in range(len(parts), 1, -1))
    yield language


def _formats(wish: str, tag: str) -> Locale | None:
    """Those of the wish, if it is a more precise name of the same language."""
    if not wish.startswith(f"{tag}-"):
        return None
    try:
        return known(wish)
    except LocaleError:
        return None


def _subtag(part: str) -> str:
    if part.isalpha() and len(part) == _SCRIPT_LENGTH:
        return part.title()
    return part.upper() if len(part) == _LANGUAGE_LENGTH else part.lower()
