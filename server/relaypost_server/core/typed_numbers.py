"""Phone numbers, senders and codes as people type and paste them, in plain characters.

The same number or code comes with digits of other scripts, with the hyphens of a
word processor, and with invisible marks: phones put U+202A before a number that
is copied out of the contacts.
"""

import unicodedata

from relaypost_server.core.characters import FULL_WIDTH

LONGEST = 256
"""Characters of a number or a code that are looked at."""
_DASHES = frozenset("\u2212\u2043\u30fc\uff70")
"""What stands for a hyphen outside the category of dashes: minus, hyphen bullet, Japan's mark of length."""
_DOTS = frozenset("\u00b7\u2022\u2024\u2027\u3002\ufe52\uff61")
_PLUS = frozenset("\ufb29\ufe62\u2795")


def plain(text: str) -> str:
    """The text with ASCII digits, hyphens, dots, plus signs and spaces in the place of others; format characters go.

    Line breaks stay, and so does every other character.
    """
    return text if text.isascii() else "".join(map(_plain, text))


def digits_of(code: str) -> str:
    """A code as it was sent: without white space, hyphens, dots and format characters, in ASCII digits.

    "" where it is longer than any code that is typed.
    """
    if len(code) > LONGEST:
        return ""
    return "".join(c for c in plain(code) if c not in "-." and not c.isspace())


def _plain(character: str) -> str:
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    category = unicodedata.category(character)
    if category == "Cf":
        return ""
    if category == "Pd" or character in _DASHES:
        return "-"
    if category == "Zs":
        return " "
    if character in _DOTS:
        return "."
    if character in _PLUS:
        return "+"
    return character.translate(FULL_WIDTH)
