"""Message ids that sort by the time they were made: UUIDs of version 7, as text."""

HIGHEST = (1 << 74) - 1
"""The highest random part."""
_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62


def uuid7(unix_ms: int, random: int) -> str:
    """A version 7 UUID (RFC 9562, section 5.7) in its canonical form.

    `random` gives the low 74 bits; a source of 10 random bytes is enough.
    """
    high = (unix_ms & ((1 << 48) - 1)) << 80 | _VERSION_7 | ((random >> 62) & 0xFFF) << 64
    digits = f"{high | _VARIANT | random & ((1 << 62) - 1):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
