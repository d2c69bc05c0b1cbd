"""Several processes on one directory, some of which are killed."""

import errno
import random
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
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
    left_behind,
    numbered,
    opened,
    reopened,
)


def test_a_file_that_is_not_ours_to_read_is_left_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_behind(home)
    real = SpoolFile
    first = iter([True])

    def refuse(path: Path) -> SpoolFile:
        if next(first, False):
            raise SpoolError(errno.EACCES, "unable to open database file")
        return real(path)

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr("relaypost_server.store.spool.spool.SpoolFile", refuse)
        spool = opened(home)
    assert spool.waiting == 0
    assert ["left alone" in entry["event"] for entry in logs] == [True]
    spool.close()
    assert reopened(home) == DOCUMENTS


APPENDING = """
import sys
from itertools import count
from pathlib import Path
from tests.store.spools import numbered, opened
spool = opened(Path(sys.argv[1]))
for number in count(int(sys.argv[2]), 3):
    assert spool.append(numbered(number, 3, number * 37 % 3000)) == 3
    print(*range(number, number + 3), flush=True)
"""


def appending(home: Path, first: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", TO_STDERR + APPENDING, str(home), str(first)], stdout=subprocess.PIPE, text=True
    )


def acknowledged_until_killed(process: "subprocess.Popen[str]", *, lines: int) -> list[int]:
    """All that the process said it had appended, before it was killed after some lines and after them."""
    assert process.stdout is not None
    with process, process.stdout:
        said = [next(process.stdout) for _ in range(lines)]
        process.kill()
        said += process.stdout
    return [int(number) for line in said for number in line.split()]


def test_what_a_killed_process_acknowledged_is_there_in_order(home: Path) -> None:
    chance = random.Random(2)
    acknowledged: list[int] = []
    for kill in range(20):
        acknowledged += acknowledged_until_killed(appending(home, kill * 1_000_000), lines=chance.randrange(1, 60))
    found = [int(record.split()[0]) for record in reopened(home)]
    assert all(a < b for a, b in pairwise(found))
    assert set(acknowledged) <= set(found)
    assert len(found) - len(acknowledged) <= 20 * 3, "no more than the append that each kill interrupted"
    assert children_of(home) == ["lock"]


def test_a_living_process_is_left_alone_and_a_dead_one_is_adopted(home: Path) -> None:
    process = appending(home, 0)
    assert process.stdout is not None
    next(process.stdout)
    ours = opened(home)
    assert ours.append(numbered(1, 1)) == 1
    assert drain(ours) == [b"1 "]
    acknowledged = acknowledged_until_killed(process, lines=5)
    ours.close()
    found = [int(record.split()[0]) for record in reopened(home)]
    assert found[: 3 + len(acknowledged)] == list(range(3 + len(acknowledged)))


ADOPTING = """
import sys
from pathlib import Path
from relaypost_server.store.spool import Spool
print("ready", flush=True)
sys.stdin.readline()
spool = Spool.open(Path(sys.argv[1]), max_bytes=1 << 30)
print(spool.waiting, flush=True)
sys.stdin.readline()
while (batch := spool.peek(7)) is not None:
    print(*(d.decode() for _, d in batch.documents))
    spool.advance(batch)
spool.close()
"""


@pytest.fixture
def racers(home: Path) -> Iterator[list["subprocess.Popen[str]"]]:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TO_STDERR + ADOPTING, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    yield started
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("attempt", range(3))
def test_of_racing_processes_one_adopts_a_dead_one(
    home: Path, racers: list["subprocess.Popen[str]"], attempt: int
) -> None:
    for directory in range(5):
        spool = opened(home.with_name(f"made-{directory}"))
        spool.append(numbered(directory * 100, 20))
        spool.close()
    home.mkdir()
    for made in sorted(home.parent.glob("made-*/*.sqlite")):
        made.rename(home / made.name)
    for process in racers:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in racers:
        tell(process)
    waiting = [int(process.stdout.readline()) for process in racers if process.stdout is not None]
    assert sum(waiting) == 100, attempt
    for process in racers:
        tell(process)
    found = [[int(n) for n in process.communicate()[0].split()] for process in racers]
    assert sorted(n for numbers in found for n in numbers) == sorted(d * 100 + n for d in range(5) for n in range(20))
    assert all(numbers == sorted(numbers) for numbers in found)
    assert children_of(home) == ["lock"]


def tell(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
