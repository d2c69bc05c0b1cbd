"""Batches of queued messages in PostgreSQL."""

import asyncio
from collections import Counter

from relaypost_server.core.message import MessageState
from relaypost_server.core.money import Money
from relaypost_server.core.queue import Batch, BatchProgress
from relaypost_server.store.database import Database
from relaypost_server.store.rows import Row


class PostgresBatches:
    """A `core.queue_ports.BatchStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counting = asyncio.Lock()
        """Watched batches take one place among the reports, and wait for it among themselves."""

    async def open(self, batch_id: str, *, caller: str, request_id: str, fingerprint: str) -> Batch:
        (row,) = await self._database.fetch("open_batch", batch_id, caller, request_id, fingerprint)
        return _batch(row)

    async def advance(self, batch_id: str, *, stored: int, closed: bool) -> Batch:
        (row,) = await self._database.fetch("advance_batch", batch_id, stored, closed)
        return _batch(row)

    async def find(self, caller: str, *, batch_id: str = "", request_id: str = "") -> Batch | None:
        found = await self._database.fetch("get_batch", caller, batch_id or None, request_id or None)
        return _batch(found[0]) if found else None

    async def progress(self, batch: Batch) -> BatchProgress:
        states, costs = Counter[MessageState](), Counter[str]()
        async with self._counting:
            found = await self._database.reports.fetch("batch_states", batch.id)
        for row in found:
            states[MessageState(row["state"])] += row["count"]
            if row["cost_currency"] is not None:
                costs[row["cost_currency"]] += row["cost_micros"]
        cost = costs.most_common(1)
        return BatchProgress(
            batch=batch, states=states, cost=Money(currency=cost[0][0], micros=cost[0][1]) if cost else None
        )


def _batch(row: Row) -> Batch:
    return Batch(
        id=str(row["id"]),
        caller=row["caller"],
        create_time=row["create_time"],
        fingerprint=row["fingerprint"],
        stored=row["stored"],
        closed=row["closed"],
    )
