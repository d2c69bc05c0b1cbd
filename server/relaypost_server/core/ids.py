"""Message ids that sort by the time they were made."""

from uuid import UUID

_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62


def uuid7(unix_ms: int, random: int) -> UUID:
    """A version 7 UUID (RFC 9562, section 5.7).

    `random` gives the low 74 bits; a source of 10 random bytes is enough.
    """
    rand_a = (random >> 62) & 0xFFF
    rand_b = random & ((1 << 62) - 1)
    return UUID(int=(unix_ms & ((1 << 48) - 1)) << 80 | _VERSION_7 | rand_a << 64 | _VARIANT | rand_b)
