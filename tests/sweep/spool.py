"""Each use of the spool is a step. A disk that fails lets the next statement of SQLite fail."""

import asyncio
import functools
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, ClassVar

from relaypost_server.store.spool import file
from tests.sweep.clock import CLOCK
from tests.sweep.steps import LASTING, Mode
from tests.sweep.trouble import Trouble

PEER = "spool"
_USES = ("append", "peek", "forget")


class _Connection(sqlite3.Connection):
    """SQLite on a disk that may fail."""

    code: ClassVar[int] = 0
    """Of SQLite's error; 0 for a disk that works."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if _Connection.code and sql != "ROLLBACK":
            error = sqlite3.OperationalError("the disk fails")
            error.sqlite_errorcode = _Connection.code
            raise error
        return super().execute(sql, parameters)


def install(trouble: Trouble, loop: asyncio.AbstractEventLoop) -> None:
    """Puts steps into every use of every spool of this process; the loop is the gateway's."""
    healed = threading.Event()
    sqlite3.connect = functools.partial(sqlite3.connect, factory=_Connection)  # type: ignore[assignment]

    def wrap(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def step(*arguments: Any, **options: Any) -> Any:
            return _step(trouble, loop, healed, name, functools.partial(method, *arguments, **options))

        return step

    for name in _USES:
        setattr(file.SpoolFile, name, wrap(name, getattr(file.SpoolFile, name)))

    async def watch() -> None:
        await trouble.healed()
        healed.set()

    _WATCHERS.append(loop.create_task(watch()))


_WATCHERS: list[asyncio.Task[None]] = []


def _step(
    trouble: Trouble, loop: asyncio.AbstractEventLoop, healed: threading.Event, name: str, act: Callable[[], Any]
) -> Any:
    known = trouble.of(PEER)
    mode = known or trouble.steps.touch(f"{PEER} {name}")
    if mode is None:
        return act()
    if known is None and mode in LASTING:
        trouble_of = PEER if mode in (Mode.GONE, Mode.HANG) else "db"
        loop.call_soon_threadsafe(trouble.begin, trouble_of, mode)
    match mode:
        case Mode.KILL_BEFORE:
            trouble.victim.kill()
        case Mode.LOST_BEFORE | Mode.LOST_AFTER | Mode.GONE:
            return _fail(sqlite3.SQLITE_FULL if mode is Mode.GONE else sqlite3.SQLITE_IOERR_WRITE, act)
        case Mode.HANG:
            _hang(loop, healed)
        case Mode.CANCEL:
            loop.call_soon_threadsafe(trouble.victim.cancel)
        case Mode.STOP:
            loop.call_soon_threadsafe(trouble.victim.stop)
    answer = act()
    if mode is Mode.KILL_AFTER:
        trouble.victim.kill()
    return answer


def _fail(code: int, act: Callable[[], Any]) -> Any:
    """Only one thread of a run uses a spool at a time."""
    _Connection.code = code
    try:
        return act()
    finally:
        _Connection.code = 0


def _hang(loop: asyncio.AbstractEventLoop, healed: threading.Event) -> None:
    """Time goes on while the disk does not."""

    def count(by: int) -> None:
        CLOCK.busy += by

    loop.call_soon_threadsafe(count, -1)
    healed.wait()
    loop.call_soon_threadsafe(count, 1)
