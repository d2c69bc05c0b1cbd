"""One SQLite file of a spool. It holds each document once, in order of arrival.

The process that has the file open holds SQLite's exclusive lock, which the
kernel gives back when the process ends.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import structlog

from relaypost_server.store.spool.errors import SpoolDamagedError, SpoolError, translated

SUFFIX = ".sqlite"
ROW_BYTES = 160
"""What a document takes on disk beside its own bytes: its key, twice, and its place."""
LARGEST_READ = 4 << 20
"""Bytes after which a batch takes no further document."""
_WORTH_SHRINKING = 1 << 20
"""Bytes."""
_SETTINGS = (
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    f"PRAGMA journal_size_limit = {LARGEST_READ}",
)
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS waiting (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        message_id TEXT NOT NULL,
        operation TEXT NOT NULL,
        fence INTEGER NOT NULL,
        document BLOB NOT NULL,
        checksum INTEGER NOT NULL,
        UNIQUE (message_id, operation, fence)
    )""",
    "CREATE TABLE IF NOT EXISTS refused (message_id TEXT NOT NULL, reason TEXT NOT NULL, document BLOB NOT NULL)",
)
_DELETE_KEY = """DELETE FROM waiting WHERE message_id = ? AND operation = ? AND fence = ?
    RETURNING position, coalesce(length(document), 0)"""
_INSERT = "INSERT INTO waiting (message_id, operation, fence, document, checksum) VALUES (?, ?, ?, ?, ?)"
_OLDEST = "SELECT position, message_id, document, checksum FROM waiting WHERE position > ? ORDER BY position LIMIT ?"
_DELETE_READ = "DELETE FROM waiting WHERE position <= ? RETURNING position, coalesce(length(document), 0)"
_COUNT = "SELECT count(*), coalesce(sum(length(document)), 0) FROM waiting WHERE position > ?"
_REFUSE = "INSERT INTO refused (message_id, reason, document) VALUES (?, ?, ?)"
_REFUSE_ALTERED = "INSERT INTO refused SELECT message_id, 'altered on disk', document FROM waiting WHERE position = ?"

log = structlog.get_logger("relaypost.spool")


class Record(NamedTuple):
    """A document and its key: there is one document for each message, operation and fence."""

    message_id: str
    operation: str
    fence: int
    document: bytes

    @property
    def checksum(self) -> int | None:
        return _checksum(self.message_id, self.document)

    @property
    def cost(self) -> int:
        """Bytes on disk, roughly."""
        return len(self.document) + ROW_BYTES


class Found(NamedTuple):
    """The documents of some rows, the positions of rows that are not as they were written, and the last position."""

    documents: Sequence[tuple[str, bytes]]
    """Each with the id of its message."""
    altered: Sequence[int]
    last: int


class SpoolFile:
    """Blocks on the disk. Methods raise SpoolError; after one the file is as it was before."""

    def __init__(self, path: Path) -> None:
        """Opens the file, and makes its tables where they are missing."""
        self.path = path
        self.waiting = 0
        """Documents after `_read_to`."""
        self.size = 0
        """Their bytes, and those of their keys."""
        self._read_to = 0
        """Documents up to this position are done with, though the disk may still have them."""
        self.damaged = False
        """How much of the file can be read is seen when it is read; until then something waits."""
        with translated():
            self._connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        self._connection.text_factory = _text
        try:
            with translated():
                for statement in (*_SETTINGS, *_SCHEMA):
                    self._connection.execute(statement).fetchall()
            self._count_what_was_left()
        except SpoolError:
            self._connection.close()
            raise

    def append(self, records: Sequence[Record]) -> None:
        """Durable when it returns. A later document of the same key takes the place of the earlier one."""
        replaced: list[tuple[int, int]] = []
        with self._transaction():
            for record in records:
                replaced += self._connection.execute(_DELETE_KEY, record[:3]).fetchall()
                self._connection.execute(_INSERT, (*record, record.checksum))
        self.waiting += len(records)
        self.size += sum(record.cost for record in records)
        self._subtract(replaced, after=self._read_to)

    def refuse(self, record: Record, reason: str) -> None:
        """Keeps a document that the database refuses, for operators."""
        with self._transaction():
            self._connection.execute(_REFUSE, (record.message_id, reason, record.document))

    def peek(self, limit: int) -> Found | None:
        """The oldest documents, at most `limit` and some 4 MiB; None where nothing waits.

        Of a damaged file these are the ones before the damage; after them it raises SpoolDamagedError.
        """
        documents: list[tuple[str, bytes]] = []
        altered: list[int] = []
        last, size = self._read_to, 0
        try:
            with translated(), contextlib.closing(self._connection.execute(_OLDEST, (last, limit))) as rows:
                for position, message_id, document, checksum in rows:
                    last = position
                    if _checksum(message_id, document) == checksum:
                        documents.append((message_id, document))
                        size += len(document)
                    else:
                        altered.append(position)
                    if size >= LARGEST_READ:
                        break
        except SpoolError:
            if last == self._read_to:
                raise
        return None if last == self._read_to else Found(documents, altered, last)

    def forget(self, found: Found) -> None:
        """Is done with what `peek` found. Never raises: what the disk keeps may be written to the database again."""
        earlier, self._read_to = self._read_to, found.last
        try:
            with self._transaction():
                self._connection.executemany(_REFUSE_ALTERED, [(position,) for position in found.altered])
                gone = self._connection.execute(_DELETE_READ, (found.last,)).fetchall()
            self._subtract(gone, after=earlier)
            if not self.waiting:
                with translated():
                    self._shrink()
        except SpoolError as error:
            log.warning("spool cannot be emptied", file=str(self.path), error=error.strerror)
            self._count_roughly(len(found.documents) + len(found.altered))

    def close(self) -> None:
        """Leaves waiting documents to the next process. Removes an empty file."""
        try:
            with translated():
                self._count()
                refused = self._connection.execute("SELECT count(*) FROM refused").fetchone()[0]
                self._connection.close()
        except SpoolError:
            self._connection.close()
            return
        if not self.waiting and not self.damaged:
            set_aside(self.path, "refused") if refused else _remove(self.path)

    def set_aside(self) -> None:
        """Closes a damaged file for good, under a name that no spool reads."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        set_aside(self.path, "corrupt")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # Some errors end the transaction by themselves.
                    self._connection.execute("ROLLBACK")
                raise

    def _count_what_was_left(self) -> None:
        try:
            with translated():
                self.damaged = self._connection.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",)
                self._count()
        except SpoolDamagedError:
            self.damaged = True
        if self.damaged:
            self.waiting = 1

    def _count(self) -> None:
        count, size = self._connection.execute(_COUNT, (self._read_to,)).fetchone()
        self.waiting, self.size = count, size + count * ROW_BYTES

    def _count_roughly(self, gone: int) -> None:
        """After a failed deletion."""
        if self.damaged:
            return
        try:
            with translated():
                self._count()
        except SpoolError:
            self.waiting = max(0, self.waiting - gone)

    def _subtract(self, gone: Iterable[tuple[int, int]], *, after: int) -> None:
        """Takes rows off the count, those that were counted: the ones after a position."""
        for position, size in gone:
            if position > after and not self.damaged:
                self.waiting -= 1
                self.size -= size + ROW_BYTES

    def _shrink(self) -> None:
        """Gives the space of an empty file back."""
        if self.path.stat().st_size > _WORTH_SHRINKING:
            self._connection.execute("VACUUM").fetchall()
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def set_aside(path: Path, suffix: str) -> None:
    """Renames a file, and its journal with it, to what no spool reads."""
    aside = path.with_suffix(f".{suffix}")
    for end in ("-wal", ""):
        with contextlib.suppress(OSError):
            Path(f"{path}{end}").rename(f"{aside}{end}")
    log.error("spool file set aside", file=str(aside), why=suffix)


def _checksum(message_id: object, document: object) -> int | None:
    """None for what a damaged row may hold instead of text and bytes."""
    if not isinstance(message_id, str) or not isinstance(document, bytes):
        return None
    return crc32(document, crc32(message_id.encode()))


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _remove(path: Path) -> None:
    for end in ("-wal", ""):
        with contextlib.suppress(OSError):
            Path(f"{path}{end}").unlink()
