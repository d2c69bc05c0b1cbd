"""Receipts in PostgreSQL, and the messages that they are about.

Events are kept first and folded into their messages in the same transaction.
What cannot be folded at once, because its message is not on record yet or its
row is being written, waits in the table for the next `match`.
"""

from collections.abc import Iterable, Sequence
from itertools import count, islice
from typing import TypeVar

import orjson
from asyncpg.pool import PoolConnectionProxy

from relaypost_server.core.delivery import DeliveryEvent
from relaypost_server.core.suppression import SuppressionPolicy
from relaypost_server.store.database import Database
from relaypost_server.store.rows import event_document
from relaypost_server.store.sql import QUERIES
from relaypost_server.store.suppressions import suppress_recipients

LARGEST_BATCH = 1000
"""Events in one transaction."""
RECENT = 600.0
"""Seconds. Most messages come within these, and what belongs to nobody is passed over after them."""
THOROUGH_EVERY = 60
"""How many matches there are for each that looks at all events that wait."""
LONGEST_WAIT = 7 * 86_400.0
"""Seconds for which an event waits for its message; a spool should be empty long before."""

T = TypeVar("T")


class PostgresDeliveries:
    """A `core.ports.DeliveryLog`."""

    def __init__(self, database: Database, suppress: SuppressionPolicy | None = None) -> None:
        """`suppress`: on which terms receipts put addresses on the suppression list; None: they do not."""
        self._database = database
        self._suppress = suppress
        self._matches = count()

    async def record(self, events: Sequence[DeliveryEvent]) -> int:
        return sum([await self._record(some) for some in _batches(events, LARGEST_BATCH)])

    async def match(self) -> int:
        thorough = next(self._matches) % THOROUGH_EVERY == 0
        waiting = await self._database.background.fetch(
            "waiting_events", LARGEST_BATCH, LONGEST_WAIT if thorough else RECENT
        )
        if thorough:
            await self._database.background.fetch("forget_waiting_events", LONGEST_WAIT)
        if not waiting:
            return 0
        async with self._database.background.transaction() as connection:
            message_ids = [row["message_id"] for row in waiting]
            folded = await _fold(connection, message_ids)
            if self._suppress is not None:
                await suppress_recipients(connection, message_ids, self._suppress)
        return folded

    async def _record(self, events: Sequence[DeliveryEvent]) -> int:
        documents = orjson.dumps([event_document(e) for e in events]).decode()
        async with self._database.background.transaction() as connection:
            new = await connection.fetch(QUERIES["add_delivery_events"], documents)
            message_ids = list({row["message_id"] for row in new})
            if new:
                await _fold(connection, message_ids)
            if self._suppress is not None and any(e.suppression for e in events):
                await suppress_recipients(connection, message_ids, self._suppress)
        return len(new)


async def _fold(connection: PoolConnectionProxy, message_ids: Sequence[object]) -> int:
    folded: int = await connection.fetchval(QUERIES["fold_delivery_events"], message_ids)
    return folded


def _batches(items: Iterable[T], size: int) -> Iterable[Sequence[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
