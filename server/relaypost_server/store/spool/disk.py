"""Files and directories that outlive a power loss, and that only their owner can read."""

import fcntl
import os
from pathlib import Path

_PRIVATE_FILE = 0o600
_PRIVATE_DIRECTORY = 0o700
_SHARED_DIRECTORY = 0o777
"""Less what the umask takes away."""


def make_directory(path: Path, mode: int = _PRIVATE_DIRECTORY) -> None:
    """Makes the directory, and those above it, unless it is there.

    Those above are as open as any: the bundled PostgreSQL, which may run as another user, has to pass through them.
    """
    if path.is_dir():
        return
    make_directory(path.parent, _SHARED_DIRECTORY)
    path.mkdir(mode, exist_ok=True)
    sync_directory(path.parent)


def make_file(path: Path) -> None:
    """Makes an empty file durably. Raises OSError where it exists or cannot be made."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE))
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes the names in the directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock_file(path: Path) -> int:
    """Waits for the lock; closing the descriptor, or the end of the process, gives it back."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
