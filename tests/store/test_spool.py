"""The spool as a queue on disk: its order, its bound, and what the next process finds."""

import os
import random
import stat
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings, strategies as st
from structlog.testing import capture_logs

from relaypost_server.store.spool import Record
from relaypost_server.store.spool.file import LARGEST_READ, ROW_BYTES
from tests.store.spools import DOCUMENTS, children_of, drain, files, keyed, left_behind, numbered, opened, reopened


def test_documents_come_back_in_the_order_of_their_appends(home: Path) -> None:
    spool = opened(home)
    assert spool.peek(10) is None
    records = keyed(DOCUMENTS)
    assert spool.append(records[:3]) == 3
    assert spool.append(records[3:]) == 1
    assert spool.waiting == 4
    assert drain(spool, limit=1) == DOCUMENTS
    assert (spool.waiting, spool.size) == (0, 0)


def test_a_document_is_held_once_however_often_it_is_appended(home: Path) -> None:
    spool = opened(home)
    record = Record("message", "finish", 1, b"earlier")
    others = [record._replace(operation="insert"), record._replace(fence=2), record._replace(message_id="other")]
    assert spool.append([record, *others, record]) == 5
    assert spool.append([record._replace(document=b"latest")]) == 1
    assert spool.waiting == 4
    assert spool.size == sum(r.cost for r in (*others, record)) - len(b"earlier") + len(b"latest")
    assert drain(spool) == [b"earlier"] * 3 + [b"latest"]
    spool.close()
    assert reopened(home) == []


def test_a_document_that_is_appended_anew_while_its_batch_is_on_its_way_is_kept(home: Path) -> None:
    spool = opened(home)
    spool.append(numbered(0, 3))
    batch = spool.peek(2)
    assert batch is not None
    spool.append([Record("message-1", "insert", 0, b"anew")])
    spool.advance(batch)
    assert spool.waiting == 2
    assert drain(spool) == [b"2 ", b"anew"]


def test_a_batch_is_peeked_again_until_it_is_advanced(home: Path) -> None:
    spool = opened(home)
    spool.append(keyed(DOCUMENTS))
    assert spool.peek(2) == spool.peek(2)
    batch = spool.peek(2)
    assert batch is not None
    spool.advance(batch)
    assert spool.waiting == 2
    assert drain(spool) == DOCUMENTS[2:]


def test_a_batch_of_large_documents_is_bounded_in_bytes(home: Path) -> None:
    spool = opened(home)
    large = [bytes([n]) * (1 << 20) for n in range(10)]
    spool.append(keyed(large))
    batch = spool.peek(1000)
    assert batch is not None
    assert sum(len(document) for _, document in batch.documents) <= LARGEST_READ + (1 << 20)
    assert drain(spool) == large


Step = tuple[str, int]
STEPS = st.lists(st.tuples(st.sampled_from(["append", "drain", "peek", "reopen"]), st.integers(0, 9)), max_size=30)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_any_use_is_that_of_a_queue(steps: list[Step]) -> None:
    numbers, model = count(), list[bytes]()
    with TemporaryDirectory() as name:
        spool = opened(Path(name))
        for step, size in steps:
            if step == "append":
                made = numbered(next(numbers) * 100, size, size)
                assert spool.append(made) == size
                model += [record.document for record in made]
            elif step == "drain" and (batch := spool.peek(size + 1)) is not None:
                spool.advance(batch)
                taken = [document for _, document in batch.documents]
                assert taken == model[: len(taken)]
                del model[: len(taken)]
            elif step == "peek":
                spool.peek(size + 1)
            elif step == "reopen":
                spool.close()
                spool = opened(Path(name))
            assert spool.waiting == len(model)
            assert spool.size == sum(map(len, model)) + len(model) * ROW_BYTES
        assert drain(spool) == model
        spool.close()
        assert files(Path(name)) == []


def test_what_was_appended_is_there_for_the_next_process(home: Path) -> None:
    left_behind(home)
    assert reopened(home) == DOCUMENTS
    assert children_of(home) == ["lock"]


def test_what_was_advanced_is_not_read_again(home: Path) -> None:
    spool = opened(home)
    spool.append(keyed(DOCUMENTS))
    batch = spool.peek(3)
    assert batch is not None
    spool.advance(batch)
    spool.close()
    assert reopened(home) == DOCUMENTS[3:]


def test_the_dead_are_read_from_the_oldest_on_and_before_our_own(home: Path) -> None:
    for number in range(3):
        spool = opened(home.with_name(f"made-{number}"))
        spool.append(numbered(number, 1))
        spool.close()
    home.mkdir()
    for made in sorted(home.parent.glob("made-*/*.sqlite")):
        made.rename(home / made.name)
    spool = opened(home)
    spool.append(numbered(9, 1))
    assert drain(spool) == [b"0 ", b"1 ", b"2 ", b"9 "]
    spool.close()
    assert children_of(home) == ["lock"]


def test_nothing_is_left_of_a_process_that_spooled_nothing(home: Path) -> None:
    opened(home).close()
    assert children_of(home) == ["lock"]


@pytest.mark.parametrize("spare", [-1, 0, 1])
def test_what_does_not_fit_is_refused_whole(home: Path, spare: int) -> None:
    records = numbered(10, 5, 100)
    spool = opened(home, max_bytes=3 * records[0].cost + spare)
    fitting = 2 if spare < 0 else 3
    assert spool.append(records) == fitting
    assert spool.append(records[4:]) == 0
    assert drain(spool) == [r.document for r in records[:fitting]]
    assert spool.append(records[4:]) == 1, "what is read makes room"


def test_what_the_dead_left_counts_towards_the_bound(home: Path) -> None:
    left_behind(home, numbered(0, 3, 100))
    spool = opened(home, max_bytes=900)
    assert spool.append(numbered(7, 1, 100)) == 0
    drain(spool)
    assert spool.append(numbered(7, 1, 100)) == 1


def test_the_disk_that_is_used_stays_near_the_bound_while_appends_go_on(home: Path) -> None:
    chance = random.Random(1)
    spool = opened(home, max_bytes=2_000_000)
    for number in range(300):
        spool.append(numbered(number * 100, chance.randrange(40), chance.randrange(2000)))
        if chance.random() < 0.3 and (batch := spool.peek(100)) is not None:
            spool.advance(batch)
        assert spool.size <= 2_000_000
    assert sum(f.stat().st_size for f in home.iterdir()) <= 1.5 * 2_000_000 + LARGEST_READ


def test_the_space_of_an_empty_spool_is_given_back(home: Path) -> None:
    spool = opened(home)
    spool.append(numbered(0, 3000, 1000))
    assert sum(f.stat().st_size for f in home.iterdir()) > 3_000_000
    assert len(drain(spool)) == 3000
    assert sum(f.stat().st_size for f in home.iterdir()) < 100_000
    spool.append(numbered(0, 1))
    spool.close()
    assert reopened(home) == [b"0 "]


def test_a_refused_document_is_kept_in_a_file_that_no_spool_reads(home: Path) -> None:
    spool = opened(home)
    spool.refuse(Record("message", "insert", 0, b"refused"), "CheckViolationError")
    assert (spool.waiting, spool.size) == (0, 0)
    spool.close()
    assert reopened(home) == []
    (kept,) = files(home, ".refused")
    assert b"refused" in kept.read_bytes()


def test_nobody_else_can_read_it(home: Path) -> None:
    before = os.umask(0)
    try:
        spool = opened(home)
        spool.append(keyed(DOCUMENTS))
    finally:
        os.umask(before)
    modes = {p.suffix: stat.S_IMODE(p.stat().st_mode) for p in home.iterdir()}
    assert modes == {"": 0o600, ".sqlite": 0o600, ".sqlite-wal": 0o600}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    spool.close()


def test_other_files_in_the_directory_are_left_alone(home: Path) -> None:
    file = left_behind(home)
    (home / "lost+found").mkdir()
    (home / "notes.sqlite").write_text("mine")
    kept = home / "lost+found" / file.name
    kept.write_bytes(file.read_bytes())
    assert reopened(home) == DOCUMENTS
    assert children_of(home) == ["lock", "lost+found", "notes.sqlite"]
    assert kept.exists()


def test_a_spool_of_an_earlier_version_is_named_in_the_log_and_left_alone(home: Path) -> None:
    directory = home / "01a222b0-0e99-70d6-a7fa-12dac45f3ae7"
    directory.mkdir(parents=True)
    (directory / "000000000001.log").write_bytes(b"RPSPOOL\x01")
    with capture_logs() as logs:
        opened(home).close()
    assert [entry["directory"] for entry in logs if "earlier version" in entry["event"]] == [str(directory)]
    assert (directory / "000000000001.log").exists()


def test_the_spool_is_private_and_the_way_to_it_is_not(tmp_path: Path) -> None:
    """The bundled PostgreSQL may live beside it, and run as another user."""
    home = tmp_path / "relaypost"
    opened(home / "spool").close()
    usual = tmp_path / "usual"
    usual.mkdir()
    assert stat.S_IMODE((home / "spool").stat().st_mode) == 0o700
    assert home.stat().st_mode == usual.stat().st_mode
