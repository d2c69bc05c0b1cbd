"""One file of a spool. Records are appended to its end and read from its head."""

import contextlib
import errno
import os
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import structlog

from relaypost_server.store.spool.disk import opened, reason, sync_directory, write_at
from relaypost_server.store.spool.frames import HEAD, Tail, begins_well, read_frames, tail

LARGEST_READ = 4 << 20
"""Bytes after which a batch takes no further record."""
_UNREADABLE = (errno.EIO, errno.ENOENT)
"""Errors of a file that no later attempt will read: a bad sector, or a file that somebody removed."""

log = structlog.get_logger("relaypost.spool")


class Segment:
    """A file with a head and whole frames, and perhaps something after them."""

    __slots__ = ("damaged", "end", "path", "read_to", "waiting")

    def __init__(self, path: Path) -> None:
        """A file that is yet to be created or recovered."""
        self.path = path
        self.end = len(HEAD)
        """Offset of the end of the last whole record."""
        self.read_to = len(HEAD)
        """Offset of the first record that is still wanted."""
        self.waiting = 0
        """Records between the two."""
        self.damaged = False

    @property
    def number(self) -> int:
        return int(self.path.stem)

    def create(self) -> None:
        """Makes the file durably. Raises OSError, and leaves nothing."""
        with opened(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
            try:
                write_at(descriptor, HEAD, 0)
                os.fsync(descriptor)
                sync_directory(self.path.parent)
            except OSError:
                with contextlib.suppress(OSError):
                    self.path.unlink()
                raise

    def append(self, frames: bytes, records: int) -> None:
        """Durable when it returns. Raises OSError, and the file is as it was."""
        with opened(self.path, os.O_WRONLY) as descriptor:
            try:
                write_at(descriptor, frames, self.end)
                os.fsync(descriptor)
            except OSError:
                # Where even this fails the next append still begins at the end of what is good.
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, self.end)
                raise
        self.end += len(frames)
        self.waiting += records

    def recover(self, wanted_from: int) -> None:
        """Finds what an earlier process left: its records, those from offset `wanted_from` on still wanted.

        Raises OSError where the file cannot be read now, but perhaps later or by another user.
        """
        self.end = 0
        try:
            with self.path.open("rb") as file:
                if begins_well(file):
                    self.end = len(HEAD)
                    self._count(file, wanted_from)
                self._judge(file)
        except OSError as error:
            self._give_up(error)

    def _count(self, file: BinaryIO, wanted_from: int) -> None:
        for end, _ in read_frames(file, self.end):
            if self.end < wanted_from:
                self.read_to = end
            else:
                self.waiting += 1
            self.end = end

    def _judge(self, file: BinaryIO) -> None:
        found = tail(file, self.end)
        left = os.fstat(file.fileno()).st_size - self.end
        if found is Tail.TORN:
            log.warning("unfinished append left out", file=str(self.path), bytes=left)
        elif found is Tail.DAMAGED:
            self._report(bytes=left)

    def read(self, limit: int) -> tuple[list[bytes], int]:
        """At most `limit` of the oldest records, and the offset of their end; none where they are damaged.

        Raises OSError where the file cannot be read now, but perhaps later.
        """
        records: list[bytes] = []
        at, wanted = self.read_to, min(limit, self.waiting)
        try:
            with self.path.open("rb") as file:
                for end, record in islice(read_frames(file, at), wanted):
                    records.append(record)
                    at = end
                    if at - self.read_to >= LARGEST_READ:
                        return records, at
        except OSError as error:
            self._give_up(error)
        if len(records) < wanted:
            # The rest was whole when it was written or found.
            self._report(bytes=self.end - at)
            self.end, self.waiting = at, len(records)
        return records, at

    def discard(self) -> None:
        """Removes the file, or sets it aside if there is more in it than could be read."""
        if self.damaged:
            directory = self.path.parent
            self.path.rename(directory.with_name(f"{directory.name}-{self.path.stem}.corrupt"))
        else:
            self.path.unlink()

    def _give_up(self, error: OSError) -> None:
        if error.errno not in _UNREADABLE:
            raise error
        self._report(error=reason(error))

    def _report(self, **details: str | int) -> None:
        self.damaged = True
        log.error("spool file damaged; it is set aside once it is read", file=str(self.path), **details)
