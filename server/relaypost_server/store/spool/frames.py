"""The format of a spool's files: a head, then one frame for each record.

A head is seven letters and the version of the format. A frame is, in big-endian
order, the length of the record, its CRC-32, the CRC-32 of these eight bytes,
and the record. The checksum of its own tells a header that is wrong from one
whose record was cut short: the first is damage, the second an append that a
crash interrupted.
"""

import enum
import struct
from collections.abc import Iterator
from typing import BinaryIO
from zlib import crc32

HEAD = b"RPSPOOL\x01"
_FIELDS = struct.Struct(">II")
_CHECKSUM = struct.Struct(">I")
OVERHEAD = _FIELDS.size + _CHECKSUM.size
"""Bytes that a frame adds to its record."""


class Tail(enum.Enum):
    """What follows the last whole frame of a file."""

    NOTHING = enum.auto()
    TORN = enum.auto()
    """An append that never finished, and so was never acknowledged."""
    DAMAGED = enum.auto()
    """Bytes that are not as they were written; acknowledged records may be among them."""


def frame(record: bytes) -> bytes:
    """The record as it is written."""
    fields = _FIELDS.pack(len(record), crc32(record))
    return fields + _CHECKSUM.pack(crc32(fields)) + record


def begins_well(file: BinaryIO) -> bool:
    """Whether the file has a whole head of this version."""
    file.seek(0)
    return file.read(len(HEAD)) == HEAD


def read_frames(file: BinaryIO, at: int) -> Iterator[tuple[int, bytes]]:
    """Whole records from the frame at offset `at` on, each with the offset of its end; it stops where one is not."""
    file.seek(at)
    while (length := _length(header := file.read(OVERHEAD))) is not None:
        record = file.read(length)
        if len(record) < length or crc32(record) != _FIELDS.unpack_from(header)[1]:
            return
        at += OVERHEAD + length
        yield at, record


def tail(file: BinaryIO, at: int) -> Tail:
    """What stands at offset `at`, where the whole frames end; 0 where not even the head is whole."""
    file.seek(at)
    rest = file.read()
    if not rest:
        return Tail.NOTHING
    return Tail.TORN if _is_torn(rest, of_head=at == 0) else Tail.DAMAGED


def _is_torn(rest: bytes, *, of_head: bool) -> bool:
    # After a power loss a file may have grown by zeros before the data came.
    if not rest.strip(b"\0"):
        return True
    if of_head:
        return HEAD.startswith(rest)
    length = _length(rest[:OVERHEAD])
    return len(rest) < OVERHEAD if length is None else len(rest) < OVERHEAD + length


def _length(header: bytes) -> int | None:
    """The length of the record that a header announces; None if it is not a header."""
    if len(header) < OVERHEAD or _CHECKSUM.unpack_from(header, _FIELDS.size)[0] != crc32(header[: _FIELDS.size]):
        return None
    return int(_FIELDS.unpack_from(header)[0])
