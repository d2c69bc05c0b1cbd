"""Files and directories that outlive a power loss, and that nobody else can read."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import structlog

_PRIVATE_FILE = 0o600
_PRIVATE_DIRECTORY = 0o700
_SHARED_DIRECTORY = 0o777
"""Less what the umask takes away."""

log = structlog.get_logger("relaypost.spool")


def make_directory(path: Path, mode: int = _PRIVATE_DIRECTORY) -> None:
    """Makes the directory, and those above it, unless it is there.

    Those above are as open as any: the bundled PostgreSQL, which may run as another user, has to pass through them.
    """
    if path.is_dir():
        return
    make_directory(path.parent, _SHARED_DIRECTORY)
    path.mkdir(mode, exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes the names in the directory durable."""
    with opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        os.fsync(descriptor)


@contextlib.contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """A descriptor of the file."""
    descriptor = os.open(path, flags, _PRIVATE_FILE)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def lock_file(path: Path, *, wait: bool) -> int:
    """The descriptor that holds the lock; closing it, or the end of the process, gives the lock back.

    Raises BlockingIOError where another has the lock and we do not wait.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Writes all of it: a disk that fills up takes a part first, and refuses the rest."""
    left = memoryview(data)
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


@contextlib.contextmanager
def harmless(what: str, path: Path) -> Iterator[None]:
    """For steps whose failure costs nothing but that records are read again."""
    try:
        yield
    except OSError as error:
        log.warning(what, file=str(path), error=reason(error))


def reason(error: OSError) -> str:
    """What the system says about it."""
    return os.strerror(error.errno or 0)
