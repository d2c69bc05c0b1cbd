"""Repairs text that was pasted out of other programs: characters that no reader shows, or that stand for others.

Text out of old Windows files holds U+0080 to U+009F where the code page 1252
has a quote, a dash or the sign of the euro. Slides and spreadsheets leave
control characters between words.
"""

import re
from dataclasses import dataclass

_CP1252 = {
    code: bytes([code]).decode("cp1252")
    for code in range(0x80, 0xA0)
    if code not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)  # The code page leaves these free.
}
_IN_PROSE = re.compile("[\x01-\x08\x0b\x0e-\x1f\x7f-\x9f]")
_IN_A_LINE = re.compile("[\x01-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_GAPS = "\t\x0b\x0c"
"""Part words where there is but one line."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """The text, and of how many of its characters others were made or nothing was left."""

    text: str
    replaced: int = 0
    dropped: int = 0


def repair_prose(text: str) -> Repaired:
    """Text of any number of lines. NUL stays: it is to be refused."""
    return _repair(text, _IN_PROSE, "")


def repair_line(text: str) -> Repaired:
    """One line: a tab becomes a space. NUL and line breaks stay: they are to be refused."""
    return _repair(text, _IN_A_LINE, _GAPS)


def _repair(text: str, suspect: re.Pattern[str], gaps: str) -> Repaired:
    found = suspect.findall(text)
    if not found:
        return Repaired(text)

    def better(match: re.Match[str]) -> str:
        character = match.group()
        return " " if character in gaps else _CP1252.get(ord(character), "")

    dropped = sum(1 for c in found if c not in gaps and ord(c) not in _CP1252)
    return Repaired(suspect.sub(better, text), replaced=len(found) - dropped, dropped=dropped)
