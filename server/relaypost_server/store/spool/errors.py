"""What can go wrong with a file of the spool."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

_PRIMARY = 0xFF
"""SQLite's extended codes have their primary code in the lowest byte."""
_HELD = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_UNREADABLE = frozenset(
    {
        sqlite3.SQLITE_IOERR_READ,
        sqlite3.SQLITE_IOERR_SHORT_READ,
        sqlite3.SQLITE_IOERR_CORRUPTFS,
        sqlite3.SQLITE_IOERR_DATA,
    }
)
"""Extended codes of a bad sector; a failed write says nothing about what was written before."""
_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
}


class SpoolError(OSError):
    """The file cannot be used now; a later attempt may succeed."""


class SpoolHeldError(SpoolError):
    """Another process has the file."""


class SpoolDamagedError(SpoolError):
    """The file is no database any more, or the disk cannot read it."""


@contextmanager
def translated() -> Iterator[None]:
    """Turns SQLite's errors into a SpoolError."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translation(error) from error


def _translation(error: sqlite3.Error) -> SpoolError:
    extended = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    code = extended & _PRIMARY
    number = _ERRNO.get(code, errno.EIO)
    if code in _HELD:
        return SpoolHeldError(number, str(error))
    if code in _DAMAGED or extended in _UNREADABLE:
        return SpoolDamagedError(number, str(error))
    return SpoolError(number, str(error))
