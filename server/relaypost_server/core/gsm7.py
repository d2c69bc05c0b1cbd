"""Keeps a text message in GSM-7, of which a segment holds 160 characters in place of 70."""

import unicodedata
from collections.abc import Mapping

from relaypost_server.core.characters import FULL_WIDTH, LINE_BREAK_HINTS, without_format_characters
from relaypost_server.core.segments import is_gsm7

_GROUPS = {
    "'": "\u2018\u2019\u201a\u201b\u2032\u02b9\u02bb\u02bc\u02bd\u02c8\u02ca\u02cb\u2039\u203a\u00b4`",
    '"': "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\u02ba\u02dd\u301d\u301e\u301f",
    "-": "\u2043\u2212\u02d7",
    "_": "\u2017",
    "*": "\u2022\u2217\u204e",
    "/": "\u2044\u2215",
    "~": "\u02dc\u223c\u2053",
    "^": "\u02c6",
    "|": "\u00a6\u2223",
    ":": "\u2236\u02d0",
    ",": "\u00b8\u3001",
    ".": "\u00b7\u2024\u3002",
    "..": "\u2025",
    "...": "\u2026",
    " ": "\t",
    "\n": "\u2028\u2029",
    "x": "\u00d7",
    "1/4": "\u00bc",
    "1/2": "\u00bd",
    "3/4": "\u00be",
    "(c)": "\u00a9",
    "(r)": "\u00ae",
    "TM": "\u2122",
    "No": "\u2116",
}
_LOOK_ALIKES: Mapping[str, str] = {c: by for by, group in _GROUPS.items() for c in group}


def to_gsm7(text: str) -> tuple[str, int]:
    """The text with look-alikes of GSM-7 in the place of other characters, and how many were replaced or dropped.

    No letter is changed for another one: what has no look-alike stays, and the text is then sent in UCS-2.
    """
    if is_gsm7(text):
        return text, 0
    composed = unicodedata.normalize("NFC", text)
    new = [_look_alike(c) for c in composed]
    replaced = len(text) - len(composed) + sum(by != c for by, c in zip(new, composed, strict=True))
    made = "".join(new)
    visible = without_format_characters(made)
    if is_gsm7(visible):  # Only then: within a word of Persian or Hindi a joiner has a meaning.
        return visible, replaced + len(made) - len(visible)
    return made, replaced


def _look_alike(character: str) -> str:
    if character in LINE_BREAK_HINTS:
        return ""
    found = _LOOK_ALIKES.get(character)
    if found is not None:
        return found
    category = unicodedata.category(character)
    if category == "Pd":
        return "-"
    if category == "Zs":
        return " "
    return character.translate(FULL_WIDTH)
