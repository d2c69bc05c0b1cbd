"""Looks at a request's bytes before they become objects.

An empty entry of a list takes two bytes on the wire and up to 90 in memory: a
request as large as the gateway allows would become gigabytes, and take seconds
in which nothing else is answered.
"""

from google.protobuf.descriptor import Descriptor

MOST_FIELDS = 10_000
"""Many times what a valid request holds."""
SMALL = 64 * 1024
"""Bytes. A shorter request is harmless whatever it holds."""
LONGEST_VARINT = 10
"""Bytes."""


def is_overfull(data: bytes, descriptor: Descriptor) -> bool:
    """Whether a request has more than MOST_FIELDS fields, those of its inner messages included.

    What is no protobuf counts up to there: the parser, too, stops at that place.
    """
    return len(data) > SMALL and _count(data, 0, len(data), descriptor) > MOST_FIELDS


def _count(data: bytes, at: int, end: int, descriptor: Descriptor) -> int:
    """The fields between two places, as far as MOST_FIELDS."""
    found = 0
    while at < end and found <= MOST_FIELDS:
        found += 1
        tag, at = _varint(data, at, end)
        match tag & 7:
            case 0:
                _, at = _varint(data, at, end)
            case 1:
                at += 8
            case 2:
                length, at = _varint(data, at, end)
                field = descriptor.fields_by_number.get(tag >> 3)
                if field is not None and field.message_type is not None:
                    found += _count(data, at, min(at + length, end), field.message_type)
                at += length
            case 5:
                at += 4
    return found


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number that begins there, and where it ends; 0 and `end` where there is none."""
    value = 0
    for position, byte in enumerate(data[at : at + LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            return value, at + position + 1
    return 0, end
