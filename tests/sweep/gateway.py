"""Gateways in virtual time: the real parts, started and stopped as `relaypost serve` does it."""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from relaypost_server import app, config
from relaypost_server.assembly.site import Site
from relaypost_server.flow.clock import Clock
from tests.e2e.gateway import QUIET
from tests.sweep import calls
from tests.sweep.calls import FakeAioServer
from tests.sweep.clock import CLOCK
from tests.sweep.proxy import PgProxy

NUMBER: contextvars.ContextVar[int] = contextvars.ContextVar("number", default=0)
"""Of the gateway that runs a task."""
STOP_DELAY = 3.0
_OF_TASKS: "WeakKeyDictionary[asyncio.Task[Any], int]" = WeakKeyDictionary()


def number_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Remembers of each new task whose it is."""

    def make(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
        task = asyncio.Task(work, loop=loop, **options)
        _OF_TASKS[task] = NUMBER.get()
        return task

    loop.set_task_factory(make)


def clocked_site(**options: Any) -> Site:
    return Site(clock=Clock(monotonic=CLOCK.monotonic, wall=CLOCK.wall), **options)


class Running:
    """One gateway."""

    def __init__(self, number: int, environ: Mapping[str, str], proxy: PgProxy, database: str, home: Path) -> None:
        self.number = number
        self.proxy = proxy
        self.http = ""
        self.stopping: asyncio.Task[None] | None = None
        self._server: FakeAioServer | None = None
        self._context = contextvars.copy_context()
        self._context.run(NUMBER.set, number)
        self._lifelong: Counter[str] = Counter()
        where = {
            "RELAYPOST_DATABASE_URL": f"postgresql://postgres@127.0.0.1:{proxy.port}/{database}",
            "RELAYPOST_DATA_DIR": str(home),
        }
        self._gateway = app.Gateway(config.load({**QUIET, **where, **environ}))

    async def start(self) -> None:
        endpoints = await self.run(self._gateway.start())
        self.http, self._server = endpoints.http, calls.LATEST[-1]

    @property
    def server(self) -> FakeAioServer:
        assert self._server is not None
        return self._server

    def run(self, work: Any) -> "asyncio.Task[Any]":
        """Runs something as a part of this gateway."""
        return self._context.run(asyncio.ensure_future, work)

    def begin(self, method: str, request: Any, answer: Any) -> "asyncio.Task[Any]":
        return self._context.run(self.server.begin, method, request, answer)

    def stop(self) -> "asyncio.Task[None]":
        """As SIGTERM does."""
        if self.stopping is None:
            self.stopping = self.run(self._gateway.stop(delay=STOP_DELAY))
        return self.stopping

    def tasks(self) -> Counter[str]:
        """What the gateway's own tasks do now."""
        return Counter(name for task in self._own_tasks() if (name := _name(task)))

    def note_lifelong(self) -> None:
        """What runs now goes on for as long as the gateway lives."""
        self._lifelong = self.tasks()

    def missing(self) -> list[str]:
        """What no longer runs of it."""
        return sorted((self._lifelong - self.tasks()).elements())

    def failing(self) -> list[str]:
        """Background tasks whose last round failed."""
        return [f"{task.name} fails" for task in self._gateway.tasks.health() if task.failures]

    def cancel_jobs(self) -> bool:
        """Cancels what a background task began for one message; whether there was any."""
        left = +self._lifelong
        found = False
        for task in self._own_tasks():
            name = _name(task)
            if left[name]:
                left[name] -= 1
            elif name and _is_job(task):
                task.cancel()
                found = True
        return found

    def _own_tasks(self) -> "list[asyncio.Task[Any]]":
        everything = [t for t in asyncio.all_tasks() if _OF_TASKS.get(t) == self.number and not t.done()]
        return sorted(everything, key=lambda task: task.get_name())


def _name(task: "asyncio.Task[Any]") -> str:
    """Empty for what is not the gateway's own code."""
    work: Any = task.get_coro()
    code = getattr(work, "cr_code", None)
    if code is None or "/relaypost_server/" not in code.co_filename:
        return ""
    # All supervised tasks run the same function, and each has a name.
    return task.get_name() if code.co_filename.endswith("/flow/background.py") else work.__qualname__


def _is_job(task: "asyncio.Task[Any]") -> bool:
    work: Any = task.get_coro()
    return any(part in work.cr_code.co_filename for part in ("/flow/worker", "/flow/webhooks", "/flow/silence"))
