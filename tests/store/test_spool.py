"""The spool as a queue on disk: its order, its bound, and what the next process finds."""

import os
import random
import stat
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings, strategies as st

from relaypost_server.store.spool.frames import HEAD, frame
from relaypost_server.store.spool.segment import LARGEST_READ
from tests.store.spools import RECORDS, children_of, drain, files, left_behind, opened, reopened


def test_records_come_back_in_the_order_of_their_appends(home: Path) -> None:
    spool = opened(home)
    assert spool.peek(10) is None
    assert spool.append(RECORDS[:3]) == 3
    assert spool.append(RECORDS[3:]) == 1
    assert spool.waiting == 4
    assert drain(spool, limit=1) == RECORDS
    assert (spool.waiting, spool.size, files(home)) == (0, 0, [])


def test_a_batch_is_peeked_again_until_it_is_advanced(home: Path) -> None:
    spool = opened(home)
    spool.append(RECORDS)
    assert spool.peek(2) == spool.peek(2)
    batch = spool.peek(2)
    assert batch is not None
    spool.advance(batch)
    assert spool.waiting == 2
    with pytest.raises(ValueError, match="oldest"):
        spool.advance(batch)
    assert drain(spool) == RECORDS[2:]


def test_a_batch_of_large_records_is_bounded_in_bytes(home: Path) -> None:
    spool = opened(home)
    large = [bytes([n]) * (1 << 20) for n in range(10)]
    spool.append(large)
    batch = spool.peek(1000)
    assert batch is not None
    assert sum(map(len, batch.records)) <= LARGEST_READ + (1 << 20)
    assert drain(spool) == large


Step = tuple[str, int]
STEPS = st.lists(st.tuples(st.sampled_from(["append", "drain", "peek", "reopen"]), st.integers(0, 9)), max_size=40)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, segment_bytes=st.integers(1, 400))
def test_any_use_is_that_of_a_queue(steps: list[Step], segment_bytes: int) -> None:
    numbers, model = count(), list[bytes]()
    with TemporaryDirectory() as name:
        spool = opened(Path(name), segment_bytes=segment_bytes)
        for step, size in steps:
            if step == "append":
                made = [b"%d" % next(numbers) * size for _ in range(size)]
                assert spool.append(made) == size
                model += made
            elif step == "drain" and (batch := spool.peek(size + 1)) is not None:
                spool.advance(batch)
                assert list(batch.records) == model[: len(batch.records)]
                del model[: len(batch.records)]
            elif step == "peek":
                spool.peek(size + 1)
            elif step == "reopen":
                spool.close()
                spool = opened(Path(name), segment_bytes=segment_bytes)
            assert spool.waiting == len(model)
        assert drain(spool) == model
        assert files(Path(name)) == []
        spool.close()


def test_what_was_appended_is_there_for_the_next_process(home: Path) -> None:
    left_behind(home)
    assert reopened(home) == RECORDS
    assert children_of(home) == ["lock"]


def test_what_was_advanced_is_not_read_again(home: Path) -> None:
    spool = opened(home)
    spool.append(RECORDS)
    batch = spool.peek(3)
    assert batch is not None
    spool.advance(batch)
    spool.close()
    assert reopened(home) == RECORDS[3:]


def test_the_dead_are_read_from_the_oldest_on_and_before_our_own(home: Path) -> None:
    for number in range(3):
        spool = opened(home)
        spool.append([b"%d" % number])
        spool.close()
    spool = opened(home)
    spool.append([b"own"])
    assert drain(spool) == [b"0", b"1", b"2", b"own"]
    spool.close()
    assert children_of(home) == ["lock"]


def test_nothing_is_left_of_a_process_that_spooled_nothing(home: Path) -> None:
    spool = opened(home)
    spool.close()
    spool.close()
    assert children_of(home) == ["lock"]


def test_what_does_not_fit_is_refused_whole(home: Path) -> None:
    record = b"x" * 100
    room = len(HEAD) + 3 * len(frame(record))
    for max_bytes in range(room - 1, room + 2):
        spool = opened(home, max_bytes=max_bytes)
        fitting = 3 if max_bytes >= room else 2
        assert spool.append([record] * 5) == fitting
        assert spool.append([record]) == 0
        assert spool.size <= max_bytes
        assert [f.stat().st_size for f in files(home)] == [spool.size]
        assert drain(spool) == [record] * fitting
        assert spool.append([record]) == 1, "what is read makes room"
        drain(spool)
        spool.close()


def test_what_the_dead_left_counts_towards_the_bound(home: Path) -> None:
    left_behind(home, [b"x" * 100] * 3)
    spool = opened(home, max_bytes=400)
    assert spool.append([b"x" * 100]) == 0
    drain(spool)
    assert spool.append([b"x" * 100]) == 1


def test_the_bound_holds_for_any_records(home: Path) -> None:
    chance = random.Random(1)
    spool = opened(home, max_bytes=20_000, segment_bytes=3000)
    for _ in range(300):
        spool.append([b"x" * chance.randrange(2000) for _ in range(chance.randrange(4))])
        assert sum(f.stat().st_size for f in files(home)) == spool.size <= 20_000
        if chance.random() < 0.3 and (batch := spool.peek(5)) is not None:
            spool.advance(batch)


def test_space_is_freed_while_appends_go_on(home: Path) -> None:
    spool = opened(home, segment_bytes=1000)
    for number in range(300):
        spool.append([b"%d" % number + b"x" * 300])
        if number >= 10:
            batch = spool.peek(1)
            assert batch is not None
            assert batch.records[0].startswith(b"%d" % (number - 10))
            spool.advance(batch)
    assert len(files(home)) <= 5
    assert spool.size < 6000


def test_nobody_else_can_read_it(home: Path) -> None:
    before = os.umask(0)
    try:
        spool = opened(home)
        spool.append(RECORDS)
        batch = spool.peek(1)
        assert batch is not None
        spool.advance(batch)
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (home, *home.rglob("*")) if p.is_file()}
    assert len(modes) == 3
    assert set(modes.values()) == {0o600}
    assert {stat.S_IMODE(p.stat().st_mode) for p in (home, *home.rglob("*")) if p.is_dir()} == {0o700}


def test_other_files_in_the_directory_are_left_alone(home: Path) -> None:
    (home / "lost+found").mkdir(parents=True)
    file = left_behind(home)
    (home / "lost+found" / file.name).write_bytes(file.read_bytes())
    (file.parent / "notes.log").write_text("mine")
    spool = opened(home)
    assert drain(spool) == RECORDS
    spool.close()
    assert (file.parent / "notes.log").read_text() == "mine"
    assert (home / "lost+found" / file.name).exists()


def test_the_spool_is_private_and_the_way_to_it_is_not(tmp_path: Path) -> None:
    """The bundled PostgreSQL may live beside it, and run as another user."""
    home = tmp_path / "relaypost"
    opened(home / "spool").close()
    usual = tmp_path / "usual"
    usual.mkdir()
    assert stat.S_IMODE((home / "spool").stat().st_mode) == 0o700
    assert home.stat().st_mode == usual.stat().st_mode
