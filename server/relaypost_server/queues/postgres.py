"""The queue in the gateway's own database, and the default.

A pointer is stored in the transaction that stores its message, so neither is ever without the other. A worker takes
pointers with FOR UPDATE SKIP LOCKED and keeps them by a heartbeat.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from operator import itemgetter
from typing import Any

import asyncpg
import structlog

from relaypost_server.core.background import Task
from relaypost_server.core.queue import Lane, Pointer
from relaypost_server.core.queue_ports import QueueUnavailableError, Taken
from relaypost_server.postgres_errors import is_unavailable
from relaypost_server.queues import _pointers
from relaypost_server.queues._pg_lookout import Lookout
from relaypost_server.statements import load_statements

SILENCE_SECONDS = 60.0
"""A worker that has not been heard of for so long has lost its pointers."""
HEARTBEAT_SECONDS = 10.0
"""Between two heartbeats, with which pointers of lost workers are given back as well."""
ASK_SECONDS = 10.0
"""For one statement; then its connection counts as lost."""
CLOSE_SECONDS = 2.0

STATEMENTS = load_statements("relaypost_server.queues")
SESSION = "SET synchronous_commit = off; SET enable_sort = off; SET enable_seqscan = off"
"""Settings of the connection on which pointers are taken.

A take or an end that a crash of PostgreSQL forgets only makes a pointer come again, so neither waits for the disk.
A plan that was made while the table was small may scan and sort it, and is kept when it has grown: with 100,000 waiting
pointers, each take would sort all of them.
"""
Connect = Callable[[], Awaitable[asyncpg.Connection]]
_LOST = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresError)
"""What a statement may raise; whatever connecting raises means that there is no connection."""

log = structlog.get_logger("relaypost.queue")


class PgQueue:
    """A `core.queue_ports.Queue`."""

    def __init__(
        self,
        connect: Connect,
        *,
        silence: float = SILENCE_SECONDS,
        heartbeat: float = HEARTBEAT_SECONDS,
        ask: float = ASK_SECONDS,
    ) -> None:
        """`connect` opens the gateway's database, its schema being up to date."""
        self._connect = connect
        self._silence = silence
        self._heartbeat = heartbeat
        self._ask_seconds = ask
        self._lookout = Lookout(self._filled)
        self._in_hand = set[int]()
        self._connection: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()
        """A connection runs one statement at a time."""

    async def start(self) -> None:
        """The table is one of the gateway's schema; the first statement connects."""

    def tasks(self) -> Sequence[Task]:
        return [Task(name="queue_heartbeat", round=self._beat, pause=self._heartbeat, first=self._heartbeat)]

    async def close(self) -> None:
        if self._in_hand:
            with contextlib.suppress(QueueUnavailableError, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._give_back(list(self._in_hand))
        if self._connection is not None:
            self._connection.terminate()

    async def store(self, connection: Any, pointers: Sequence[Pointer]) -> None:
        """As `put`, within the transaction of a connection."""
        await connection.execute(
            STATEMENTS["store_pointers"], [p.lane.value for p in pointers], [str(p) for p in pointers]
        )

    async def put(self, pointers: Sequence[Pointer]) -> None:
        async with self._connected() as connection, connection.transaction():
            await connection.execute("SET LOCAL synchronous_commit TO DEFAULT")
            await self.store(connection, pointers)

    async def take(self, lane: Lane, *, most: int, wait: float) -> Sequence[Taken]:
        end = asyncio.get_running_loop().time() + wait
        while True:
            taken = await self._read(await self._ask("take_pointers", lane.value, most), lane)
            left = end - asyncio.get_running_loop().time()
            if taken or left <= 0 or not await self._lookout.wait(lane, left):
                return taken

    async def done(self, taken: Sequence[Taken]) -> None:
        await self._forget([one.handle for one in taken])

    async def give_back(self, taken: Sequence[Taken]) -> None:
        await self._give_back([one.handle for one in taken])

    async def _read(self, rows: Sequence[asyncpg.Record], lane: Lane) -> Sequence[Taken]:
        in_order = sorted(rows, key=itemgetter("id"))
        read = [(row["id"], _pointers.read(row["pointer"].encode(), lane)) for row in in_order]
        unreadable = [number for number, pointer in read if pointer is None]
        if unreadable:
            with contextlib.suppress(QueueUnavailableError):  # What is not thrown away comes again.
                await self._forget(unreadable)
        taken = [Taken(pointer, number) for number, pointer in read if pointer is not None]
        self._in_hand.update(one.handle for one in taken)
        return taken

    async def _give_back(self, numbers: Sequence[int]) -> None:
        self._in_hand.difference_update(numbers)  # Whatever becomes of this, they come again.
        await self._ask("give_back_pointers", numbers)

    async def _forget(self, numbers: Sequence[int]) -> None:
        self._in_hand.difference_update(numbers)  # Those that stay come again, and lead to nothing.
        await self._ask("forget_pointers", numbers)

    async def _filled(self, lanes: Collection[str]) -> Collection[str]:
        return {row["lane"] for row in await self._ask("filled_lanes", list(lanes))}

    async def _beat(self) -> None:
        try:
            if self._in_hand:
                await self._ask("heartbeat_pointers", list(self._in_hand))
            await self._ask("give_back_lost_pointers", self._silence)
        except QueueUnavailableError as error:
            log.warning("queue out of reach", error=str(error))

    async def _ask(self, statement: str, *arguments: object) -> Sequence[asyncpg.Record]:
        """The rows of a named statement. Raises QueueUnavailableError."""
        async with self._connected() as connection:
            rows: Sequence[asyncpg.Record] = await connection.fetch(STATEMENTS[statement], *arguments)
            return rows

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        """The connection, for one caller at a time and for so many seconds. Raises QueueUnavailableError."""
        try:
            async with asyncio.timeout(self._ask_seconds), self._turn:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._open()
                yield self._connection
        except _LOST as error:
            if is_unavailable(error) and self._connection is not None:
                self._connection.terminate()  # Another server may be the primary by now.
            raise QueueUnavailableError(type(error).__name__) from error

    async def _open(self) -> asyncpg.Connection:
        try:
            connection = await self._connect()
            try:
                await connection.execute(SESSION)
            except BaseException:
                connection.terminate()
                raise
        except Exception as error:
            raise QueueUnavailableError(type(error).__name__) from error
        return connection
