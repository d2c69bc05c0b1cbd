"""A proxy before PostgreSQL that counts statements as steps, and makes them go wrong."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.fakes.server import listening
from tests.sweep.frames import fatal
from tests.sweep.link import PEER, READ_ONLY, Link, Upstream
from tests.sweep.steps import Mode
from tests.sweep.trouble import Trouble

_DOWN = fatal("57P01", "terminating connection due to administrator command")


class PgProxy:
    """The database as one gateway sees it."""

    def __init__(self, upstream: Upstream, trouble: Trouble, before: Callable[[], Awaitable[None]]) -> None:
        """`before`: awaited before each statement is passed on."""
        self.port = 0
        self.seen: Counter[str] = Counter()
        """How often each statement was made since this was emptied."""
        self.upstream = upstream
        self.trouble = trouble
        self._before = before
        self.links: set[Link] = set()
        trouble.on_begin(self._trouble_begins)
        trouble.on_heal(self._trouble_ends)

    async def before(self) -> None:
        await self._before()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(self, reader, writer)
        self.links.add(link)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await link.run()
        finally:
            self.links.discard(link)
            link.abort()

    def _trouble_begins(self, peer: str, mode: Mode) -> None:
        if peer != PEER:
            return
        for link in list(self.links):
            if mode is Mode.HANG:
                link.silent = True
            else:
                link.abort(_DOWN if mode in READ_ONLY else b"")

    def _trouble_ends(self) -> None:
        """A connection whose peer was silent is lost, not late."""
        for link in list(self.links):
            if link.silent:
                link.abort()


@asynccontextmanager
async def pg_proxy(
    upstream: Upstream, trouble: Trouble, before: Callable[[], Awaitable[None]]
) -> AsyncIterator[PgProxy]:
    made = PgProxy(upstream, trouble, before)
    async with listening(made.handle, limit=1 << 20) as made.port:
        yield made
