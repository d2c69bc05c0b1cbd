"""Runs cases in processes of their own, each forked off this one, which has loaded everything and begun nothing."""

import asyncio
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from relaypost_server.assembly import preload
from tests.sweep import case, database
from tests.sweep.case import Case, Result
from tests.sweep.world import KILLED

PATIENCE_SECONDS = 180.0
"""Real seconds that a run may take."""
real_time = time.monotonic
"""As it was before anybody replaced it."""
Done = Callable[[Case, Result, float], None]


@dataclass
class _Slot:
    """A place for one run at a time, with a database of its own."""

    database: str
    home: Path
    case: Case | None = None
    pid: int = 0
    began: float = 0.0
    seconds: float = 0.0
    """Of processor time, over both processes of a case."""


class Pool:
    """So many runs at once."""

    def __init__(self, slots: list[_Slot]) -> None:
        self._slots = slots

    def run(self, cases: Iterable[Case], done: Done) -> None:
        """Runs them all; tells of each that is over, with its seconds of processor time."""
        left = iter(cases)
        while True:
            for slot in self._slots:
                if slot.case is None and (following := next(left, None)) is not None:
                    _begin(slot, following)
            if not any(slot.case for slot in self._slots):
                return
            self._wait(done)

    def _wait(self, done: Done) -> None:
        """Until some process has ended."""
        while True:
            for slot in self._slots:
                if slot.case is None:
                    continue
                pid, status, used = os.wait4(slot.pid, os.WNOHANG)
                if pid:
                    slot.seconds += used.ru_utime + used.ru_stime
                    _ended(slot, os.waitstatus_to_exitcode(status), done)
                    return
                if real_time() - slot.began > PATIENCE_SECONDS:
                    os.kill(slot.pid, signal.SIGKILL)
            time.sleep(0.003)


def _begin(slot: _Slot, following: Case, *, after_kill: bool = False) -> None:
    slot.case, slot.began = following, real_time()
    if not after_kill:
        slot.seconds = 0.0
        shutil.rmtree(slot.home, ignore_errors=True)
        slot.home.mkdir(parents=True)
    slot.pid = os.fork()
    if slot.pid == 0:
        gc.disable()
        code = 1
        try:
            case.run(following, slot.database, slot.home, after_kill=after_kill)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _ended(slot: _Slot, code: int, done: Done) -> None:
    assert slot.case is not None
    over, slot.case = slot.case, None
    found = slot.home / "result.json"
    if code == KILLED and (slot.home / "dump.json").exists() and not found.exists():
        _begin(slot, over, after_kill=True)
    elif code == 0:
        done(over, Result(**json.loads(found.read_text())), slot.seconds)
    else:
        done(over, Result(error=f"the process ended with {code}"), slot.seconds)


@contextmanager
def pool(size: int) -> Iterator[Pool]:
    """Makes the databases, and drops them at the end."""
    names = asyncio.run(_create(size))
    preload.load()
    gc.collect()
    gc.freeze()
    try:
        with tempfile.TemporaryDirectory() as home:
            yield Pool([_Slot(name, Path(home) / name) for name in names])
    finally:
        asyncio.run(_drop(names))


async def _create(size: int) -> list[str]:
    return [await database.create() for _ in range(size)]


async def _drop(names: Iterable[str]) -> None:
    for name in names:
        await database.drop(name)
