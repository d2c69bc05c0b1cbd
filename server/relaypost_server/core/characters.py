"""Characters that several readers of input fold or drop, and words that count them."""

import unicodedata

FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
"""For str.translate: U+FF01 to U+FF5E, which East Asian keyboards write, to "!" to "~" of ASCII."""
LINE_BREAK_HINTS = "\u00ad\u200b\u2060\ufeff"
"""Soft hyphen, zero-width space, word joiner, byte order mark."""
DIRECTION_CONTROLS = "".join(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
"""Embeddings, overrides and isolates (Unicode Standard Annex 9): they turn the direction of what follows."""
INVISIBLE = LINE_BREAK_HINTS + DIRECTION_CONTROLS + "\u061c\u200e\u200f"
"""Never part of a word. The joiners U+200C and U+200D are: Persian and Hindi words need them."""


def without_format_characters(text: str) -> str:
    """The text without Unicode's category Cf: all that is INVISIBLE, and the joiners."""
    return text if text.isascii() else "".join(c for c in text if unicodedata.category(c) != "Cf")


def counted(count: int, what: str) -> str:
    """The beginning of a sentence: "1 character was", "3 characters were"."""
    return f"1 {what} was" if count == 1 else f"{count} {what}s were"
