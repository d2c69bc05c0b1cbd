"""The pepper of a gateway that was given none: made once, and kept beside the bundled database."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

FILE = "otp-pepper"


def own_pepper(directory: Path) -> str:
    """The pepper in the directory, made if there is none; readable by the gateway's user alone. Raises OSError."""
    path = directory / FILE
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        _make(path)
    return path.read_text().strip()


def _make(path: Path) -> None:
    """Puts a whole file in place, or leaves the one that another gateway put there meanwhile."""
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # Mode 0600.
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secrets.token_hex(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(unfinished)
    finally:
        Path(unfinished).unlink()
