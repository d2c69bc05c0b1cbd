"""Each use of the spool is a step."""

import asyncio
import errno
import functools
import threading
from collections.abc import Callable
from typing import Any

from relaypost_server.store.spool import Spool
from tests.sweep.clock import CLOCK
from tests.sweep.steps import LASTING, Mode
from tests.sweep.trouble import Trouble

PEER = "spool"


def install(trouble: Trouble, loop: asyncio.AbstractEventLoop) -> None:
    """Puts steps into every use of every spool of this process; the loop is the gateway's."""
    healed = threading.Event()

    def wrap(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def step(*arguments: Any, **options: Any) -> Any:
            return _step(trouble, loop, healed, name, functools.partial(method, *arguments, **options))

        return step

    for name in ("append", "peek", "advance"):
        setattr(Spool, name, wrap(name, getattr(Spool, name)))

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
            raise OSError(errno.EIO if mode is not Mode.GONE else errno.ENOSPC, "the disk fails")
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


def _hang(loop: asyncio.AbstractEventLoop, healed: threading.Event) -> None:
    """Time goes on while the disk does not."""

    def count(by: int) -> None:
        CLOCK.busy += by

    loop.call_soon_threadsafe(count, -1)
    healed.wait()
    loop.call_soon_threadsafe(count, 1)
