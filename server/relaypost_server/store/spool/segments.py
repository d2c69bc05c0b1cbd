"""A directory of a spool that one process holds: numbered segments, read from the oldest record on."""

import contextlib
import os
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from relaypost_server.store.spool.disk import harmless, lock_file, opened, write_at
from relaypost_server.store.spool.segment import Segment

_DIGITS = 12
_SUFFIX = ".log"
_LOCK = "lock"
_CURSOR = "cursor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The oldest records, in the order in which they were appended."""

    records: Sequence[bytes]
    segment: Segment
    start: int
    end: int


class Segments:
    """The segments of one directory, its lock, and a cursor into the oldest."""

    def __init__(self, path: Path) -> None:
        """Takes the directory. Raises BlockingIOError where another process holds it, or another OSError."""
        self.path = path
        self._lock: int | None = lock_file(path / _LOCK, wait=False)
        self._cursor = _Cursor(path / _CURSOR)
        self._segments: deque[Segment] = deque()
        self._last_number = 0

    @property
    def waiting(self) -> int:
        return sum(s.waiting for s in self._segments)

    @property
    def size(self) -> int:
        """Bytes in all files."""
        return sum(s.end for s in self._segments)

    def recover(self) -> None:
        """Finds what an earlier process left. Raises OSError where that cannot be read."""
        number, offset = self._cursor.load()
        for path in sorted(self.path.glob("[0-9]" * _DIGITS + _SUFFIX)):
            segment = Segment(path)
            segment.recover(offset if segment.number == number else 0)
            self._segments.append(segment)
        self._discard_read()

    def append(self, frames: bytes, records: int, *, segment_bytes: int) -> None:
        """Durable when it returns. Raises OSError, and none of the records is kept."""
        if not self.appends_to_last(segment_bytes):
            segment = Segment(self.path / f"{self._last_number + 1:0{_DIGITS}}{_SUFFIX}")
            segment.create()
            self._last_number += 1
            self._segments.append(segment)
        self._segments[-1].append(frames, records)

    def appends_to_last(self, segment_bytes: int) -> bool:
        """Whether the next append goes to the last segment; otherwise it begins one."""
        return bool(self._segments) and not self._segments[-1].damaged and self._segments[-1].end < segment_bytes

    def peek(self, limit: int) -> Batch | None:
        """At most `limit` of the oldest records, of one segment; None if nothing waits."""
        while self.waiting:
            segment = self._segments[0]
            start = segment.read_to
            records, end = segment.read(limit)
            if records:
                return Batch(records=records, segment=segment, start=start, end=end)
            self._discard_read()
        return None

    def advance(self, batch: Batch) -> None:
        """Forgets the batch. Raises ValueError if it is not the oldest one."""
        segment = batch.segment
        if not self._segments or segment is not self._segments[0] or batch.start != segment.read_to:
            raise ValueError("the batch is not the oldest one")
        segment.read_to = batch.end
        segment.waiting -= len(batch.records)
        if segment.waiting:
            self._cursor.store(segment.number, segment.read_to)
        self._discard_read()

    def close(self) -> None:
        """Gives the directory back, and removes it if no segment is left in it."""
        if self._lock is None:
            return
        with contextlib.suppress(OSError):
            self._remove()
        os.close(self._lock)
        self._lock = None

    def _discard_read(self) -> None:
        while self._segments and not self._segments[0].waiting:
            segment = self._segments.popleft()
            with harmless("spool file not removed", segment.path):
                segment.discard()

    def _remove(self) -> None:
        """Whoever takes the lock of the empty directory meanwhile will remove it instead."""
        if not any(self.path.glob(f"*{_SUFFIX}")):
            (self.path / _CURSOR).unlink(missing_ok=True)
            (self.path / _LOCK).unlink()
            self.path.rmdir()


class _Cursor:
    """Which record of which segment is the next to be read.

    It is not fsynced: it outlives the process, and where a power loss brings an
    older one back, some records are read again.
    """

    _FIELDS = struct.Struct(">QQ")
    _WHOLE = struct.Struct(">QQI")

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> tuple[int, int]:
        """The number of a segment and an offset in it; zeros where none can be trusted."""
        try:
            number, offset, checksum = self._WHOLE.unpack(self._path.read_bytes())
        except (OSError, struct.error):
            return 0, 0
        return (number, offset) if checksum == crc32(self._FIELDS.pack(number, offset)) else (0, 0)

    def store(self, number: int, offset: int) -> None:
        checksum = crc32(self._FIELDS.pack(number, offset))
        with harmless("spool cursor not kept", self._path), opened(self._path, os.O_WRONLY | os.O_CREAT) as descriptor:
            write_at(descriptor, self._WHOLE.pack(number, offset, checksum), 0)
