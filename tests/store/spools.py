"""What the tests of the spool share."""

from collections.abc import Sequence
from pathlib import Path

from relaypost_server.store.spool import Record, Spool

ROOM = 1 << 30
DOCUMENTS = [b'{"id": 0}', b"", b"\0" * 9, b'{"id": 3, "to": "ada@example.com"}']


def keyed(documents: Sequence[bytes], *, first: int = 0) -> list[Record]:
    """Each as a document about a message of its own."""
    return [Record(f"message-{first + n}", "insert", 0, document) for n, document in enumerate(documents)]


def numbered(first: int, count: int, size: int = 0) -> list[Record]:
    """Documents that begin with their numbers."""
    return keyed([b"%d " % n + b"x" * size for n in range(first, first + count)], first=first)


def opened(home: Path, *, max_bytes: int = ROOM) -> Spool:
    return Spool.open(home, max_bytes=max_bytes)


def drain(spool: Spool, *, limit: int = 1000) -> list[bytes]:
    drained: list[bytes] = []
    while (batch := spool.peek(limit)) is not None:
        drained += [document for _, document in batch.documents]
        spool.advance(batch)
    return drained


def reopened(home: Path) -> list[bytes]:
    """What the next process finds; it takes an append as well."""
    spool = opened(home)
    assert spool.append([Record("next", "insert", 0, b"next")]) == 1
    *found, last = drain(spool)
    assert last == b"next"
    assert (spool.waiting, spool.size) == (0, 0)
    spool.close()
    return found


def files(home: Path, suffix: str = ".sqlite") -> list[Path]:
    return sorted(home.glob(f"*{suffix}"))


def left_behind(home: Path, records: Sequence[Record] | None = None) -> Path:
    """The one file of a process that is gone."""
    spool = opened(home)
    spool.append(keyed(DOCUMENTS) if records is None else records)
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
