"""Which of the languages at hand a reader gets: tags by BCP 47, look-up by RFC 4647.

A tag names a language, as in "pt-BR" or "zh-Hant-TW". A preference is one tag,
or a list of them as in the header Accept-Language. It comes from browsers and
phones, and is a wish: what cannot be read of it is passed over.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from babel import Locale, UnknownLocaleError
from babel.core import get_global

from relaypost_server.core.characters import without_format_characters

LONGEST_PREFERENCE = 256
"""Characters of a preference that are looked at."""

_TAG = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z]{4})?(?:[-_](?:[A-Za-z]{2}|[0-9]{3}))?(?:[-_][A-Za-z0-9]{1,8})*")
_RANGE = re.compile(r"([^;]+?)\s*(?:;\s*[qQ]\s*=\s*([0-9]{1,3}(?:\.[0-9]*)?|\.[0-9]+)\s*)?")
_POSIX = re.compile(r"([A-Za-z0-9_-]+?)(?:\.[A-Za-z0-9_-]+)?(?:@([A-Za-z0-9]+))?")
"""language_TERRITORY.codeset@modifier, as in the variable LANG of POSIX."""
_SCRIPTS = {"latin": "Latn", "cyrillic": "Cyrl", "devanagari": "Deva", "arabic": "Arab"}
"""Modifiers of POSIX that name a script."""
_SCRIPT_LENGTH, _LANGUAGE_LENGTH = 4, 2


class LocaleError(ValueError):
    """Why the text names no language; the reason never repeats the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """The languages that a reader prefers."""

    wishes: tuple[str, ...] = ()
    """Canonical tags and "*", the dearest first. What has the weight 0 is left out."""
    read: int = 0
    """Parts that could be read."""
    unread: int = 0
    """Parts that could not."""


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


def choose(preference: str, available: frozenset[str], default: str) -> Choice:
    """The best of the available tags for a preference; "" stands for none.

    Each wish is shortened until something fits, pt-BR to pt, before the next
    one counts. `default` must be available.
    """
    return _choose(_cut(preference), available, default)


def read_preference(text: str) -> Preference:
    """What can be read of a preference."""
    return _read(_cut(text))


def complaint_about(text: str) -> str:
    """What is wrong with a preference of which nothing can be read; "" for nothing.

    For previews, whose caller can correct it. A send uses the default.
    """
    preference = read_preference(text)
    if preference.read or not preference.unread:
        return ""
    return "is not a language tag such as pt-BR, or a list such as pt-BR, en;q=0.5"


@lru_cache(maxsize=1024)  # Preferences are few and come again and again.
def _choose(preference: str, available: frozenset[str], default: str) -> Choice:
    for wish in _read(preference).wishes:
        if wish == "*":
            break
        for tag in _ever_shorter(wish):
            if tag in available:
                return Choice.of(tag, _formats(wish, tag))
    return Choice.of(default)


@lru_cache(maxsize=1024)
def _read(preference: str) -> Preference:
    parts = [part for part in (p.strip() for p in without_format_characters(preference).split(",")) if part]
    weighed = [found for found in map(_weigh, parts) if found is not None]
    by_weight = sorted(weighed, key=lambda pair: -pair[1])
    return Preference(
        wishes=tuple(tag for tag, weight in by_weight if weight > 0),
        read=len(weighed),
        unread=len(parts) - len(weighed),
    )


def _cut(preference: str) -> str:
    """Of a preference that is too long, the beginning: a part that cannot be read takes the place of the rest."""
    if len(preference) <= LONGEST_PREFERENCE:
        return preference
    whole, _, _ = preference[:LONGEST_PREFERENCE].rpartition(",")
    return f"{whole},?"


def _weigh(text: str) -> tuple[str, float] | None:
    """A tag and its weight, 0 to 1; None where they cannot be read."""
    found = _RANGE.fullmatch(text)
    if found is None:
        return None
    tag, weight = found.groups()
    try:
        return tag if tag == "*" else _canonical_of_any(tag), min(1.0, float(weight or 1))
    except LocaleError:
        return None


def _canonical_of_any(name: str) -> str:
    """The tag of a name in the form of BCP 47 or of POSIX. Raises LocaleError."""
    found = _POSIX.fullmatch(name)
    if found is None:
        raise LocaleError("is not a language tag such as pt-BR")
    tag, script = canonical(found[1]), _SCRIPTS.get((found[2] or "").lower())
    if script is None:
        return tag
    language, _, rest = tag.partition("-")
    return "-".join(filter(None, (language, script, rest)))


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
