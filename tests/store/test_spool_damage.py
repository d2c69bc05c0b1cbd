"""Torn, damaged and failing files: nothing acknowledged is lost, nothing is invented."""

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings, strategies as st
from structlog.testing import capture_logs

from relaypost_server.store.spool import segment
from relaypost_server.store.spool.frames import HEAD, OVERHEAD
from tests.store.spools import (
    RECORDS,
    TO_STDERR,
    children_of,
    drain,
    fail_once,
    files,
    left_behind,
    opened,
    reopened,
)


def test_a_file_that_a_crash_left_without_its_head_holds_nothing(home: Path) -> None:
    file = left_behind(home)
    for size in range(len(HEAD) + 1):
        later = file.with_name(f"{2 + size:012d}.log")
        later.write_bytes(HEAD[:size])
    assert reopened(home) == RECORDS
    assert children_of(home) == ["lock"]


def test_the_last_record_torn_anywhere_is_left_out_and_the_others_are_kept(home: Path) -> None:
    whole = len(left_behind(home).read_bytes())
    start = whole - OVERHEAD - len(RECORDS[-1])
    for size in range(start, whole):
        file = next(iter(files(home)), None) or left_behind(home)
        os.truncate(file, size)
        with capture_logs() as logs:
            assert reopened(home) == RECORDS[:-1]
        reported = [entry["bytes"] for entry in logs if "unfinished" in entry["event"]]
        assert reported == ([size - start] if size > start else [])
    assert children_of(home) == ["lock"], "a torn record was never acknowledged: there is nothing to set aside"


def test_zeros_at_the_end_are_what_a_power_loss_leaves_of_an_append(home: Path) -> None:
    file = left_behind(home)
    os.truncate(file, file.stat().st_size + 5000)
    assert reopened(home) == RECORDS
    assert children_of(home) == ["lock"]


def test_a_flipped_bit_anywhere_costs_only_what_follows_it_and_the_file_is_set_aside(home: Path) -> None:
    intact = left_behind(home).read_bytes()
    ends = [len(HEAD)]
    for record in RECORDS:
        ends.append(ends[-1] + OVERHEAD + len(record))
    assert ends[-1] == len(intact)
    for bit in (byte * 8 + byte % 8 for byte in range(len(intact))):
        file = next(iter(files(home)), None) or left_behind(home)
        flipped = bytearray(intact)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        with capture_logs() as logs:
            found = reopened(home)
        kept = sum(end <= bit // 8 for end in ends[1:])
        assert found == RECORDS[:kept]
        (aside,) = files(home, ".corrupt")
        assert aside.read_bytes() == flipped
        (report,) = [entry for entry in logs if "damaged" in entry["event"]]
        assert report["bytes"] == len(intact) - (ends[kept] if bit // 8 >= len(HEAD) else 0)
        aside.unlink()


@settings(max_examples=100, deadline=None)
@given(at=st.integers(0, 160), damage=st.binary(max_size=60), cut=st.integers(0, 160))
def test_no_damage_raises_or_invents_a_record(at: int, damage: bytes, cut: int) -> None:
    with TemporaryDirectory() as name:
        home = Path(name)
        file = left_behind(home)
        intact = file.read_bytes()
        file.write_bytes((intact[:at] + damage + intact[at + len(damage) :])[: len(intact) - cut])
        found = reopened(home)
        assert found == RECORDS[: len(found)]


def test_a_flipped_bit_anywhere_in_the_cursor_only_has_records_read_again(home: Path) -> None:
    spool = opened(home)
    spool.append(RECORDS)
    batch = spool.peek(3)
    assert batch is not None
    spool.advance(batch)
    spool.close()
    (cursor,) = files(home, "cursor")
    kept = home.with_name("kept")
    cursor_bytes = cursor.stat().st_size
    assert cursor_bytes == 20
    home.rename(kept)
    for byte in range(cursor_bytes):
        shutil.copytree(kept, home)
        flipped = bytearray(cursor.read_bytes())
        flipped[byte] ^= 1 << byte % 8
        cursor.write_bytes(flipped)
        assert reopened(home) == RECORDS
        shutil.rmtree(home)


def test_damage_while_we_run_costs_only_what_follows_it(home: Path) -> None:
    spool = opened(home)
    spool.append(RECORDS)
    (file,) = files(home)
    content = bytearray(file.read_bytes())
    content[len(HEAD) + OVERHEAD + len(RECORDS[0])] ^= 1
    file.write_bytes(content)
    with capture_logs() as logs:
        batch = spool.peek(10)
    assert batch is not None
    assert list(batch.records) == RECORDS[:1]
    left = len(HEAD) + OVERHEAD + len(RECORDS[0])
    assert [entry["bytes"] for entry in logs] == [len(content) - left]
    assert spool.size == left
    assert spool.append([b"after"]) == 1
    spool.advance(batch)
    assert drain(spool) == [b"after"]
    (aside,) = files(home, ".corrupt")
    assert aside.read_bytes() == content


@pytest.mark.parametrize("remove", [True, False], ids=["removed by hand", "bad sector"])
def test_a_file_that_cannot_be_read_does_not_stop_the_others(
    home: Path, monkeypatch: pytest.MonkeyPatch, remove: bool
) -> None:
    spool = opened(home, segment_bytes=1)
    spool.append([b"first"])
    spool.append([b"second"])
    if remove:
        files(home)[0].unlink()
    else:
        fail_once(monkeypatch, segment, "read_frames", errno.EIO)
    assert spool.waiting == 2
    assert drain(spool) == [b"second"]
    assert len(files(home, ".corrupt")) == (0 if remove else 1)


def test_a_lack_that_may_pass_is_raised_and_costs_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(home)
    spool.append(RECORDS)
    fail_once(monkeypatch, segment, "read_frames", errno.EMFILE)
    with pytest.raises(OSError, match="open files"):
        spool.peek(10)
    assert drain(spool) == RECORDS


def test_what_cannot_be_read_now_is_left_to_a_later_process(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_behind(home)
    with monkeypatch.context() as patch:
        fail_once(patch, segment, "read_frames", errno.EACCES)
        spool = opened(home)
    assert spool.waiting == 0
    spool.close()
    assert reopened(home) == RECORDS


@pytest.mark.parametrize("call", ["fsync", "pwrite"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_failed_append_keeps_nothing_and_a_later_one_works(
    home: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    spool = opened(home)
    spool.append(RECORDS)
    (file,) = files(home)
    before = file.read_bytes()
    with monkeypatch.context() as patch:
        fail_once(patch, os, call, code)
        with pytest.raises(OSError, match=os.strerror(code)):
            spool.append([b"lost"])
    assert (file.read_bytes(), spool.waiting) == (before, len(RECORDS))
    spool.append([b"later"])
    spool.close()
    assert reopened(home) == [*RECORDS, b"later"]


def test_where_the_file_cannot_be_rolled_back_the_next_append_overwrites_the_rest(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = opened(home)
    spool.append(RECORDS)
    with monkeypatch.context() as patch:
        fail_once(patch, os, "fsync", errno.EIO)
        fail_once(patch, os, "ftruncate", errno.EIO)
        with pytest.raises(OSError, match="Input/output"):
            spool.append([b"first"])
    assert drain(spool, limit=3) == RECORDS
    with monkeypatch.context() as patch:
        spool.append(RECORDS)
        fail_once(patch, os, "fsync", errno.EIO)
        fail_once(patch, os, "ftruncate", errno.EIO)
        with pytest.raises(OSError, match="Input/output"):
            spool.append([b"first"])
    spool.append([b"other"])
    spool.close()
    assert reopened(home) == [*RECORDS, b"other"]


@pytest.mark.parametrize("step", [0, 1], ids=["the file", "its name"])
def test_a_file_that_cannot_be_made_durable_is_not_left(home: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    spool = opened(home)
    with monkeypatch.context() as patch:
        fail_once(patch, os, "fsync", errno.ENOSPC, after=step)
        with pytest.raises(OSError, match="No space"):
            spool.append(RECORDS)
    assert files(home) == []
    spool.append(RECORDS)
    assert drain(spool) == RECORDS


FULL = """
import resource, signal, sys
from pathlib import Path
from relaypost_server.store.spool import Spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = Spool.open(Path(sys.argv[1]), max_bytes=1 << 30)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
print(spool.append([b"a" * 300] * 2))
for _ in range(5):
    try:
        spool.append([b"b" * 300] * 2)
    except OSError:
        print("refused")
print(spool.append([b"c" * 300]))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(spool.append([b"d" * 300] * 9))
"""


def test_a_disk_that_fills_up_in_the_middle_of_a_record(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TO_STDERR + FULL, str(home)], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["2", *["refused"] * 5, "1", "9"]
    assert [r[:1] for r in reopened(home)] == [b"a", b"a", b"c", *[b"d"] * 9]


def test_the_data_and_the_names_are_synced_before_an_append_returns(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    pwrite, fsync = os.pwrite, os.fsync

    def write(descriptor: int, data: bytes, offset: int) -> int:
        calls.append("write")
        return pwrite(descriptor, data, offset)

    def sync(descriptor: int) -> None:
        calls.append("sync directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        fsync(descriptor)

    monkeypatch.setattr(os, "pwrite", write)
    monkeypatch.setattr(os, "fsync", sync)
    spool = opened(home)
    assert calls == ["sync directory", "sync directory"], "home, and our own directory in it"
    calls.clear()
    spool.append(RECORDS)
    spool.append(RECORDS)
    created, appended = ["write", "sync file", "sync directory"], ["write", "sync file"]
    assert calls == created + appended + appended
