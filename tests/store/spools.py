"""What the tests of the spool share."""

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from relaypost_server.store.spool import Spool

ROOM = 1 << 30
RECORDS = [b'{"id": 0}', b"", b"\0" * 9, b'{"id": 3, "to": "ada@example.com"}']


def opened(home: Path, *, max_bytes: int = ROOM, segment_bytes: int = ROOM) -> Spool:
    return Spool.open(home, max_bytes=max_bytes, segment_bytes=segment_bytes)


def drain(spool: Spool, *, limit: int = 1000) -> list[bytes]:
    drained: list[bytes] = []
    while (batch := spool.peek(limit)) is not None:
        drained += batch.records
        spool.advance(batch)
    return drained


def reopened(home: Path) -> list[bytes]:
    """What the next process finds; it takes an append as well."""
    spool = opened(home)
    assert spool.append([b"next"]) == 1
    expected = spool.waiting
    *found, last = drain(spool)
    assert (last, len(found) + 1) == (b"next", expected)
    assert (spool.waiting, spool.size) == (0, 0)
    spool.close()
    return found


def files(home: Path, suffix: str = ".log") -> list[Path]:
    return sorted(home.rglob(f"*{suffix}"))


def left_behind(home: Path, records: list[bytes] = RECORDS) -> Path:
    """The one file of a process that is gone."""
    spool = opened(home)
    spool.append(records)
    spool.close()
    (file,) = files(home)
    return file


def children_of(home: Path) -> list[str]:
    return sorted(p.name for p in home.iterdir())


TO_STDERR = """
import sys, structlog
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
"""
"""What a child runs first, for its stdout is the test's."""


def fail_once(patch: pytest.MonkeyPatch, module: object, name: str, code: int, *, after: int = 0) -> None:
    """Has the call after `after` good ones fail."""
    real: Callable[..., object] = getattr(module, name)
    calls = count()

    def failing(*args: object, **kwargs: object) -> object:
        if next(calls) == after:
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    patch.setattr(module, name, failing)
