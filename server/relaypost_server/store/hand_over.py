"""How the queue's engine gets pointers to messages that are due.

An engine in this database gets them within the transaction that marks them. Any other engine is called while no
transaction is open, for it may take longer than PostgreSQL waits for one: a short statement leases the messages, the
engine is called, and a second statement confirms that it has them. A gateway that dies in between leaves a lease, which
ends; then another pointer is made, and the second one of a message leads to nothing.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

from relaypost_server.core.message import Channel
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.queue import Lane, Pointer
from relaypost_server.core.queue_ports import QueueUnavailableError
from relaypost_server.store.database import Database
from relaypost_server.store.rows import Row
from relaypost_server.store.sql import QUERIES

PUT_SECONDS = 20.0
"""Seconds for the engine to accept a batch; then it counts as unavailable."""
LEASE_SECONDS = 30.0
"""Seconds for which the messages of a gateway that died in the hand-over stay leased."""
CONFIRM_PAUSES = (0.02, 1.0)
"""Before a confirmation is repeated for rows that workers hold: at first, and at most; each is twice the one before."""
URGENT_FIRST = [lane.value for lane in (Lane.OTP, Lane.TRANSACTIONAL, Lane.BULK)]
"""A batch is filled lane by lane in this order."""

Put = Callable[[Sequence[Pointer]], Awaitable[None]]


class HandOver(Protocol):
    """The way to one engine."""

    within: bool
    """Whether pointers are stored in the transaction that stores their messages, by `store`."""

    async def store(self, connection: Any, pointers: Sequence[Pointer]) -> None:
        """Stores pointers in the transaction of the connection."""
        ...

    async def run(self, limit: int) -> int:
        """Gives the engine pointers to at most `limit` messages that are due; how many there were.

        Raises LogUnavailableError and QueueUnavailableError.
        """
        ...


class LocalEngine(Protocol):
    """An engine that keeps its pointers in this database."""

    async def store(self, connection: Any, pointers: Sequence[Pointer]) -> None: ...


class HandOverWithin:
    """To an engine in this database."""

    within = True

    def __init__(self, database: Database, engine: LocalEngine) -> None:
        self._database = database
        self._engine = engine

    async def store(self, connection: Any, pointers: Sequence[Pointer]) -> None:
        await self._engine.store(connection, pointers)

    async def run(self, limit: int) -> int:
        async with self._database.background.transaction() as connection:
            pointers = _in_order(await connection.fetch(QUERIES["hand_over"], limit, URGENT_FIRST))
            if pointers:
                await self.store(connection, pointers)
        return len(pointers)


class HandOverByLease:
    """To an engine beside this database."""

    within = False

    def __init__(self, database: Database, put: Put) -> None:
        self._database = database
        self._put = put

    async def store(self, connection: Any, pointers: Sequence[Pointer]) -> None:
        """Never called, `within` being False: pointers follow their messages."""

    async def run(self, limit: int) -> int:
        rows = await self._database.background.fetch("lease_pointers", limit, LEASE_SECONDS, URGENT_FIRST)
        if not rows:
            return 0
        ids, lease = [row["message_id"] for row in rows], rows[0]["handing_until"]
        try:
            await self._put_in_time(_in_order(rows))
        except BaseException:  # The engine may have some of them; the rest must not wait for the lease to end.
            with contextlib.suppress(LogUnavailableError):
                await self._database.background.fetch("release_pointers", ids, lease)
            raise
        await self._confirm(ids, lease)
        return len(rows)

    async def _put_in_time(self, pointers: Sequence[Pointer]) -> None:
        try:
            async with asyncio.timeout(PUT_SECONDS):
                await self._put(pointers)
        except TimeoutError as error:
            raise QueueUnavailableError("too slow") from error

    async def _confirm(self, ids: Sequence[Any], lease: datetime) -> None:
        """Workers may be at these messages already: rows that they hold are passed over, and tried again."""
        pause, longest = CONFIRM_PAUSES
        while rows := await self._database.background.fetch("confirm_pointers", ids, lease):
            ids = [row["message_id"] for row in rows]
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)


def pointer_of(row: Row) -> Pointer:
    """Which message a row of the queue is about."""
    return Pointer(str(row["message_id"]), Lane(row["lane"]), Channel(row["channel"]))


def _in_order(rows: Sequence[Row]) -> Sequence[Pointer]:
    return sorted(map(pointer_of, rows), key=lambda pointer: URGENT_FIRST.index(pointer.lane))
