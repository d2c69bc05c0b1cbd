"""Keeps documents on the local disk while the database is away, so that a crash loses none.

Each process has an SQLite file of its own in the directory that gateways may
share. A spool that is opened adopts the files of dead processes, and reads
them first.
"""

import os
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from relaypost_server.core.ids import uuid7
from relaypost_server.store.spool.disk import lock_file, make_directory, make_file
from relaypost_server.store.spool.errors import SpoolDamagedError, SpoolError, SpoolHeldError
from relaypost_server.store.spool.file import SUFFIX, Found, Record, SpoolFile, set_aside

_GATE = "lock"
_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

log = structlog.get_logger("relaypost.spool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The oldest documents, in the order in which they were appended."""

    documents: Sequence[tuple[str, bytes]]
    """Each with the id of its message."""
    altered: int
    """Documents beside them that are not as they were written, and are set aside."""
    found: Found
    file: SpoolFile


class Spool:
    """A queue of documents on disk, each at most once, bounded in bytes.

    Everything blocks on files. One thread at a time may use it, not always the
    same one; `waiting` and `size` may be read from any thread at any time.
    """

    def __init__(self, own: SpoolFile, orphans: Sequence[SpoolFile], *, max_bytes: int) -> None:
        """`open` makes one."""
        self._own = own
        self._orphans = deque(orphans)
        self._max_bytes = max_bytes

    @classmethod
    def open(cls, home: Path, *, max_bytes: int) -> Self:
        """Makes a file for this process in `home`, and adopts those of dead processes.

        Raises OSError where `home` cannot be written.
        """
        make_directory(home)
        with _gate(home):
            orphans = [orphan for path in _files(home) if (orphan := _adopted(path)) is not None]
            own = _new_file(home)
        spool = cls(own, orphans, max_bytes=max_bytes)
        spool._let_go()
        if spool.waiting:
            log.info("spool adopted", waiting=spool.waiting, bytes=spool.size)
        return spool

    @property
    def waiting(self) -> int:
        """Documents that no `advance` has passed yet, those of dead processes included."""
        return self._own.waiting + sum(file.waiting for file in tuple(self._orphans))

    @property
    def size(self) -> int:
        """Bytes of the documents that wait, and of their keys; files set aside do not count."""
        return self._own.size + sum(file.size for file in tuple(self._orphans))

    def append(self, records: Sequence[Record]) -> int:
        """How many of the records, from the first on, there was room for; those are durable.

        Raises SpoolError if the disk is full or fails. Then none of them is kept,
        and a later append may succeed.
        """
        fitting = self._fitting(records)
        if fitting:
            try:
                self._own.append(fitting)
            except SpoolDamagedError:
                self._replace_own()
                self._own.append(fitting)
        return len(fitting)

    def refuse(self, record: Record, reason: str) -> None:
        """Keeps a document that the database does not accept in a file that no spool reads. Raises SpoolError."""
        self._own.refuse(record, reason)

    def peek(self, limit: int) -> Batch | None:
        """At most `limit` (and some 4 MiB) of the oldest documents; None if nothing waits.

        Raises SpoolError for what may pass, such as a lack of file descriptors.
        """
        while self.waiting:
            file = self._orphans[0] if self._orphans else self._own
            try:
                found = file.peek(limit)
            except SpoolDamagedError:
                self._give_up(file)
                continue
            if found is not None:
                return Batch(documents=found.documents, altered=len(found.altered), found=found, file=file)
            if file.damaged:
                self._give_up(file)
            else:
                file.waiting = file.size = 0
                self._let_go()
        return None

    def advance(self, batch: Batch) -> None:
        """Is done with the batch that the last `peek` returned. After a power loss some of it may be read again."""
        batch.file.forget(batch.found)
        self._let_go()

    def close(self) -> None:
        """Leaves what waits to the next process."""
        for file in (*self._orphans, self._own):
            file.close()

    def _fitting(self, records: Sequence[Record]) -> Sequence[Record]:
        room = self._max_bytes - self.size
        fitting: list[Record] = []
        for record in records:
            room -= record.cost
            if room < 0:
                break
            fitting.append(record)
        return fitting

    def _give_up(self, file: SpoolFile) -> None:
        if file is self._own:
            self._replace_own()
        log.error("spool file damaged", file=str(file.path), waiting=file.waiting)
        self._orphans.remove(file)
        file.set_aside()

    def _replace_own(self) -> None:
        """What can still be read of the damaged file is read before the new one."""
        damaged, self._own = self._own, _new_file(self._own.path.parent)
        self._orphans.append(damaged)

    def _let_go(self) -> None:
        """Removes files of dead processes that have been read."""
        while self._orphans and not self._orphans[0].waiting:
            self._orphans.popleft().close()


@contextmanager
def _gate(home: Path) -> Iterator[None]:
    """Only one process at a time makes or adopts files: a new one is without its lock for a moment."""
    descriptor = lock_file(home / _GATE)
    try:
        yield
    finally:
        os.close(descriptor)


def _files(home: Path) -> Sequence[Path]:
    """The files of all processes, the oldest first."""
    for path in home.iterdir():
        if path.is_dir() and _NAME.fullmatch(path.name):
            log.warning("spool of an earlier version is not read", directory=str(path))
    return sorted(p for p in home.glob(f"*{SUFFIX}") if _NAME.fullmatch(p.stem) and p.is_file())


def _new_file(home: Path) -> SpoolFile:
    path = home / (uuid7(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10))) + SUFFIX)
    make_file(path)
    return SpoolFile(path)


def _adopted(path: Path) -> SpoolFile | None:
    """None where its process lives, or where the file is damaged or not ours to read."""
    try:
        return SpoolFile(path)
    except SpoolHeldError:
        return None
    except SpoolDamagedError:
        set_aside(path, "corrupt")
    except SpoolError as error:
        log.error(  # noqa: TRY400 - the text says it all
            "spool of a dead process left alone", file=str(path), error=error.strerror
        )
    return None
