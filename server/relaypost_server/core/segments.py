"""How many segments a text message is billed as.

Facts: 3GPP TS 23.038 (the GSM 7-bit default alphabet and its extension table)
and TS 23.040 (a concatenated message loses 6 bytes of each segment to a header).
National language tables are not used by SNS or Twilio and are not counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("\f^{}\\[~]|€")
_ALL = _BASIC | _EXTENSION


class Encoding(StrEnum):
    """The alphabets of a text message."""

    GSM_7 = "GSM-7"
    UCS_2 = "UCS-2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """`units` are septets in GSM-7 and UTF-16 code units in UCS-2."""

    encoding: Encoding
    count: int
    units: int


_ROOM = {Encoding.GSM_7: (160, 153), Encoding.UCS_2: (70, 67)}
"""Units that fit into a lone segment, and into one of several."""


def is_gsm7(text: str) -> bool:
    """Whether GSM-7 has every character of the text."""
    return _ALL.issuperset(text)


def is_gsm_letter(character: str) -> bool:
    """Whether it is a letter of GSM-7's basic alphabet, in which names of senders are written."""
    return character in _BASIC and character.isalpha()


def count_segments(text: str) -> Segments:
    """The alphabet and the number of segments of a non-empty text."""
    if is_gsm7(text):
        encoding, sizes = Encoding.GSM_7, [2 if c in _EXTENSION else 1 for c in text]
    else:
        encoding, sizes = Encoding.UCS_2, [2 if ord(c) > 0xFFFF else 1 for c in text]
    alone, joined = _ROOM[encoding]
    units = sum(sizes)
    return Segments(encoding=encoding, count=1 if units <= alone else _pack(sizes, joined), units=units)


def _pack(sizes: Iterable[int], room: int) -> int:
    """Segments of `room` units each; a character is never split over two."""
    count, used = 1, 0
    for size in sizes:
        if used + size > room:
            count, used = count + 1, 0
        used += size
    return count
