"""Keeps records in local files while the database is away, so that a crash loses none.

Each process has a directory of its own below the one that gateways may share,
and holds its lock for as long as it lives. What dead processes left is adopted
when a spool is opened, and is read first.
"""

import os
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import structlog

from relaypost_server.core.ids import uuid7
from relaypost_server.store.spool.disk import lock_file, make_directory, reason
from relaypost_server.store.spool.frames import HEAD, OVERHEAD, frame
from relaypost_server.store.spool.segments import Batch, Segments

SEGMENT_BYTES = 8 << 20
"""A file that has reached this size takes no further records, so that it can go once it is read."""
_GATE = "lock"
_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

log = structlog.get_logger("relaypost.spool")


class Spool:
    """A queue of records on disk, bounded in bytes.

    Everything blocks on files. One thread at a time may use it, not always the
    same one; `waiting` and `size` may be read from any thread at any time.
    """

    def __init__(self, own: Segments, orphans: Sequence[Segments], *, max_bytes: int, segment_bytes: int) -> None:
        """`open` makes one."""
        self._own = own
        self._orphans = deque(orphans)
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._waiting = 0
        self._size = 0
        self._settle()

    @classmethod
    def open(cls, home: Path, *, max_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> Self:
        """Makes a directory for this process below `home`, and adopts those of the dead, which it reads through.

        Raises OSError where `home` cannot be written.
        """
        make_directory(home)
        with _gate(home):
            left = _directories(home)
            own = _new_directory(home)
            orphans = [orphan for path in left if (orphan := _adopt(path)) is not None]
        spool = cls(own, [o for o in orphans if _is_recovered(o)], max_bytes=max_bytes, segment_bytes=segment_bytes)
        if spool.waiting:
            log.info("spool adopted", waiting=spool.waiting, bytes=spool.size)
        return spool

    @property
    def waiting(self) -> int:
        """Records that no `advance` has passed yet, those of dead processes included."""
        return self._waiting

    @property
    def size(self) -> int:
        """Bytes in all files that are still to be read; files set aside as damaged do not count."""
        return self._size

    def append(self, records: Sequence[bytes]) -> int:
        """How many of the records, from the first on, there was room for; those are durable.

        Raises OSError if the disk is full or fails. Then none of them is kept, and
        a later append may succeed.
        """
        frames = self._fitting(records)
        if frames:
            self._own.append(b"".join(frames), len(frames), segment_bytes=self._segment_bytes)
            self._settle()
        return len(frames)

    def peek(self, limit: int) -> Batch | None:
        """At most `limit` (and some 4 MiB) of the oldest records; None if nothing waits.

        Raises OSError for a lack of resources, such as file descriptors, that may pass.
        """
        batch = next((b for d in (*self._orphans, self._own) if (b := d.peek(limit)) is not None), None)
        self._settle()
        return batch

    def advance(self, batch: Batch) -> None:
        """Forgets the batch that the last `peek` returned. After a power loss some of it may be read again.

        Raises ValueError if it is another batch.
        """
        (self._orphans[0] if self._orphans else self._own).advance(batch)
        self._settle()

    def close(self) -> None:
        """Leaves what waits to the next process."""
        for directory in (*self._orphans, self._own):
            directory.close()

    def _fitting(self, records: Sequence[bytes]) -> list[bytes]:
        room = self._max_bytes - self._size
        if not self._own.appends_to_last(self._segment_bytes):
            room -= len(HEAD)
        fitting: list[bytes] = []
        for record in records:
            room -= OVERHEAD + len(record)
            if room < 0:
                break
            fitting.append(frame(record))
        return fitting

    def _settle(self) -> None:
        """Removes what dead processes left once it is read, and counts what remains."""
        while self._orphans and not self._orphans[0].waiting:
            self._orphans.popleft().close()
        held = (*self._orphans, self._own)
        self._waiting = sum(d.waiting for d in held)
        self._size = sum(d.size for d in held)


@contextmanager
def _gate(home: Path) -> Iterator[None]:
    """Only one process at a time makes or adopts directories: a new one is without its lock for a moment."""
    descriptor = lock_file(home / _GATE, wait=True)
    try:
        yield
    finally:
        os.close(descriptor)


def _directories(home: Path) -> list[Path]:
    """The directories of all processes, the oldest first."""
    return sorted(p for p in home.iterdir() if _NAME.fullmatch(p.name) and p.is_dir())


def _new_directory(home: Path) -> Segments:
    path = home / uuid7(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10)))
    make_directory(path)
    return Segments(path)


def _adopt(path: Path) -> Segments | None:
    """None where its process lives, or where it is not ours to read."""
    try:
        return Segments(path)
    except (BlockingIOError, FileNotFoundError):
        return None
    except OSError as error:
        _report(path, error)
        return None


def _is_recovered(orphan: Segments) -> bool:
    try:
        orphan.recover()
    except OSError as error:
        _report(orphan.path, error)
        orphan.close()
        return False
    return True


def _report(path: Path, error: OSError) -> None:
    log.error("spool of a dead process left alone", directory=str(path), error=reason(error))
