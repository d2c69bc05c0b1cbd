"""Lets gateways share a spool directory only where they write to the same database.

What a dead gateway left in its spool is adopted by the next one on the same
directory, which writes it to its own database: with two databases, records of
one would end in the other.
"""

import fcntl
import os
import time
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from relaypost_server.store.spool.disk import make_directory

FILE = "database"
WAIT_SECONDS = 5.0
"""For another gateway that starts at the same moment."""
BUNDLED = "bundled"


class OtherDatabaseError(Exception):
    """A running gateway with another database uses the directory."""


class Tenancy:
    """Holds a shared lock on the directory's file, which names the database."""

    def __init__(self, directory: Path, database: str) -> None:
        """`database`: as `identity` makes it. Raises OtherDatabaseError or OSError."""
        make_directory(directory)
        self._descriptor = os.open(directory / FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _take(self._descriptor, database.encode())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Gives the lock back, as the end of the process does."""
        os.close(self._descriptor)


def identity(url: str | None) -> str:
    """Names a database and nothing else: who logs in, and how, does not matter."""
    if url is None:
        return BUNDLED
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    places = parts.netloc.rpartition("@")[2] or ",".join(options.get("host", []))
    name = parts.path.lstrip("/") or ",".join(options.get("dbname", []))
    hosts = sorted(place.lower().removesuffix(":5432") for place in places.split(","))
    return sha256(f"{','.join(hosts)}/{name}".encode()).hexdigest()


def _take(descriptor: int, database: bytes) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while True:
        if _locked(descriptor, fcntl.LOCK_EX):  # No other gateway uses the directory.
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, database, 0)
        if _locked(descriptor, fcntl.LOCK_SH):
            if os.pread(descriptor, 1024, 0) != database:
                raise OtherDatabaseError
            return
        if time.monotonic() > end:
            raise BlockingIOError("the directory is locked")
        time.sleep(0.01)


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
