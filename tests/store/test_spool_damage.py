"""Damaged files and failing disks: nothing is invented, nothing stops, and a later append works."""

import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relaypost_server.store.spool import SpoolError
from relaypost_server.store.spool.file import SpoolFile
from tests.store.spools import (
    DOCUMENTS,
    TO_STDERR,
    children_of,
    drain,
    files,
    keyed,
    left_behind,
    numbered,
    opened,
    reopened,
)


def killed(home: Path, records: int) -> list[bytes]:
    """The documents that a process had appended when it was killed; its journal is still there."""
    script = f"""
import os, signal, sys
from pathlib import Path
from tests.store.spools import numbered, opened
opened(Path(sys.argv[1])).append(numbered(0, {records}, 500))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script, str(home)], check=False)
    assert done.returncode == -9
    return [record.document for record in numbered(0, records, 500)]


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_a_file_that_is_no_database_is_set_aside(home: Path) -> None:
    file = left_behind(home)
    file.write_bytes(b"not a database" * 1000)
    with capture_logs() as logs:
        assert reopened(home) == []
    assert [entry["why"] for entry in logs if "set aside" in entry["event"]] == ["corrupt"]
    (aside,) = files(home, ".corrupt")
    assert aside.read_bytes() == b"not a database" * 1000


def test_an_empty_file_that_a_crash_left_holds_nothing(home: Path) -> None:
    left_behind(home).write_bytes(b"")
    assert reopened(home) == []
    assert children_of(home) == ["lock"]


def test_a_torn_journal_costs_only_what_was_never_acknowledged(home: Path) -> None:
    expected = killed(home, 20)
    (journal,) = files(home, ".sqlite-wal")
    with journal.open("ab") as file:
        file.write(b"\0" * 3000)
    assert reopened(home) == expected


def test_damage_anywhere_neither_raises_nor_invents_a_document(home: Path) -> None:
    chance = random.Random(3)
    for trial in range(40):
        place = home.with_name(f"trial-{trial}")
        file = left_behind(place, numbered(0, 100, 500))
        written = [record.document for record in numbered(0, 100, 500)]
        overwrite(file, chance.randrange(file.stat().st_size), chance.randbytes(chance.choice([1, 1, 50, 5000])))
        found = reopened(place)
        assert set(found) <= set(written)
        assert len(found) == 100 or files(place, ".corrupt") or files(place, ".refused")


def test_a_document_that_was_altered_on_disk_is_set_aside_and_the_others_are_read(home: Path) -> None:
    file = left_behind(home, numbered(0, 100, 500))
    content = file.read_bytes()
    overwrite(file, content.index(b"50 xxx") + 100, b"y")
    spool = opened(home)
    batch = spool.peek(1000)
    assert batch is not None
    assert (len(batch.documents), batch.altered) == (99, 1)
    spool.advance(batch)
    spool.close()
    (kept,) = files(home, ".refused")
    with sqlite3.connect(kept) as connection:
        assert connection.execute("SELECT message_id, reason FROM refused").fetchall() == [
            ("message-50", "altered on disk")
        ]
    connection.close()


def test_what_comes_before_the_damage_is_read_and_the_rest_is_set_aside(home: Path) -> None:
    file = left_behind(home, numbered(0, 1000, 500))
    size = file.stat().st_size
    overwrite(file, size * 3 // 4 // 4096 * 4096, b"\xff" * 4096)
    spool = opened(home)
    found = drain(spool, limit=10)
    assert found == [record.document for record in numbered(0, len(found), 500)]
    assert found
    assert spool.append(numbered(1, 1)) == 1
    assert drain(spool) == [b"1 "]
    spool.close()
    assert len(files(home, ".corrupt")) == 1
    assert files(home) == []


def test_damage_to_our_own_file_while_we_run_stops_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(home)
    spool.append(keyed(DOCUMENTS))
    (file,) = files(home)
    with monkeypatch.context() as patch:
        patch.setattr(SpoolFile, "peek", raising_once(sqlite3.SQLITE_CORRUPT, SpoolFile.peek))
        assert drain(spool) == []
    assert len(files(home, ".corrupt")) == 1
    assert not file.exists()
    assert spool.append(keyed(DOCUMENTS)) == 4
    assert drain(spool) == DOCUMENTS


def test_a_lack_that_may_pass_is_raised_and_costs_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(home)
    spool.append(keyed(DOCUMENTS))
    with monkeypatch.context() as patch:
        patch.setattr(SpoolFile, "peek", raising_once(sqlite3.SQLITE_CANTOPEN, SpoolFile.peek))
        with pytest.raises(SpoolError):
            spool.peek(10)
    assert drain(spool) == DOCUMENTS


def test_a_full_disk_keeps_nothing_of_an_append_and_a_later_one_works(home: Path) -> None:
    spool = opened(home)
    spool.append(keyed(DOCUMENTS))
    limit(spool, 10)
    with pytest.raises(SpoolError, match="full"):
        spool.append(numbered(0, 1000, 1000))
    assert spool.waiting == len(DOCUMENTS)
    limit(spool, 1 << 30)
    assert spool.append(numbered(100, 10)) == 10
    spool.close()
    assert reopened(home) == [*DOCUMENTS, *(r.document for r in numbered(100, 10))]


FULL = """
import resource, signal, sys
from pathlib import Path
from tests.store.spools import numbered, opened
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = opened(Path(sys.argv[1]))
print(spool.append(numbered(0, 2, 300)))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
for number in range(5):
    try:
        spool.append(numbered(1000 * number, 300, 300))
    except OSError:
        print("refused")
batch = spool.peek(1)
spool.advance(batch)
print(spool.append(numbered(7, 1, 300)))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(spool.append(numbered(100, 9, 300)), spool.waiting)
"""


def test_a_disk_that_fills_up_in_the_middle_of_an_append(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TO_STDERR + FULL, str(home)], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["2", *["refused"] * 5, "1", "9", "11"]
    assert [int(document.split()[0]) for document in reopened(home)] == [1, 7, *range(100, 109)]


def test_an_append_is_synced_before_it_returns(home: Path) -> None:
    """Where strace is not at hand, SQLite's own word has to do."""
    spool = opened(home)
    connection = spool._own._connection
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA locking_mode").fetchone() == ("exclusive",)


def raising_once(code: int, real: object) -> object:
    """Has SQLite's error come out of the first call."""
    from relaypost_server.store.spool.errors import translated

    left = iter([True])

    def call(*args: object) -> object:
        if next(left, False):
            error = sqlite3.OperationalError("simulated")
            error.sqlite_errorcode = code
            with translated():
                raise error
        return real(*args)  # type: ignore[operator]

    return call


def limit(spool: object, pages: int) -> None:
    """Has SQLite find the disk full beyond so many pages."""
    spool._own._connection.execute(f"PRAGMA max_page_count = {pages}")  # type: ignore[attr-defined]
