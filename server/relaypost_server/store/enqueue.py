"""Stores messages in the queue, and finds out what became of a COMMIT without an answer."""

import asyncio
from collections.abc import Sequence

import orjson

from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.queue import Queued
from relaypost_server.core.queue_ports import Enqueued, EnqueueInDoubtError
from relaypost_server.store import rows
from relaypost_server.store.database import Database
from relaypost_server.store.hand_over import HandOver, pointer_of
from relaypost_server.store.sql import QUERIES

FIND_OUT_SECONDS = 5.0
"""For the database to come back after a COMMIT that had no answer."""
PAUSE_SECONDS = 0.1
"""Between two tries in that time: each may use up a connection of the pool that was lost with the first."""


class _UnansweredError(LogUnavailableError):
    """The COMMIT was sent and had no answer: its outcome is unknown."""


class Intake:
    """The way of messages into the queue."""

    def __init__(self, database: Database, hand_over: HandOver) -> None:
        self._database = database
        self._hand_over = hand_over

    async def store(self, queued: Sequence[Queued]) -> Sequence[Enqueued]:
        """Raises LogUnavailableError where nothing was stored, and EnqueueInDoubtError where that is not known."""
        try:
            new = await self._insert(queued)
        except _UnansweredError:
            new = await self._find_out(queued)
        return [Enqueued(message_id=q.record.id, new=q.record.id in new) for q in queued]

    async def _insert(self, queued: Sequence[Queued]) -> set[str]:
        """The ids of those that are stored now; the rest had an earlier request of the same name."""
        documents = orjson.dumps([rows.queue_document(q) for q in queued]).decode()
        committing = False
        try:
            async with self._database.transaction() as connection:
                found = await connection.fetch(QUERIES["enqueue"], documents, self._hand_over.within)
                pointers = [pointer_of(row) for row in found if row["handed"]]
                if pointers:
                    await self._hand_over.store(connection, pointers)
                committing = True
        except LogUnavailableError as error:
            if committing:
                raise _UnansweredError from error
            raise
        return {str(row["message_id"]) for row in found}

    async def _find_out(self, queued: Sequence[Queued]) -> set[str]:
        """The same again: PostgreSQL has the second transaction wait for the first, if that still runs.

        To look for the messages would not do: a COMMIT may take effect after the look.
        """
        time = asyncio.get_running_loop().time
        end = time() + FIND_OUT_SECONDS
        while True:
            try:
                return await self._insert(queued) | await self._stored(queued)
            except LogUnavailableError as error:
                if time() + PAUSE_SECONDS > end:
                    raise EnqueueInDoubtError from error
            await asyncio.sleep(PAUSE_SECONDS)

    async def _stored(self, queued: Sequence[Queued]) -> set[str]:
        """The ids of those that the first transaction stored, if it came to its end."""
        found = await self._database.fetch("stored_requests", [q.record.id for q in queued])
        return {str(row["message_id"]) for row in found}
