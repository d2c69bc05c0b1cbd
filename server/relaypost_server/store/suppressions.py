"""The suppression list in PostgreSQL.

Every row bears the transaction that changed it last, and readers ask for what
was changed since the oldest transaction that ran at their last look. A counter
would not do: a transaction that took a number earlier may commit later.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from asyncpg.pool import PoolConnectionProxy

from relaypost_server.core.suppression import (
    EVERY_CALLER,
    Change,
    Reply,
    Suppression,
    SuppressionPolicy,
    SuppressionQuery,
    SuppressionReason,
    SuppressionSource,
)
from relaypost_server.core.suppression_ports import Changes, Cursor
from relaypost_server.store.database import Database
from relaypost_server.store.rows import Row
from relaypost_server.store.sql import QUERIES

PAGE = 2000
"""Rows in one look: some 10 ms of the event loop's time."""
REMEMBERED = 7 * 86_400.0
"""Seconds for which a row is kept that is off the list: replicas read the whole list more often than that."""

STOP_REACHES_BACK = 90 * 86_400.0
"""Seconds: a STOP is an answer to whatever a person got from the number within these."""


class PostgresSuppressions:
    """A `core.suppression_ports.SuppressionStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def changes(self, cursor: Cursor) -> Changes:
        if cursor == Cursor():
            await self._database.background.fetch("adopt_suppressions")
        rows = await self._database.background.fetch("suppression_changes", cursor.since, *cursor.page, PAGE)
        found = [row for row in rows if row["address"] is not None]
        return Changes(
            changes=[_change(row) for row in found],
            horizon=rows[0]["horizon"],
            last=_place(found[-1]) if len(found) == PAGE else None,
            time=rows[0]["time"],
        )

    async def put(self, suppressions: Sequence[Suppression]) -> int:
        return len(await self._database.fetch("put_suppressions", _documents(suppressions)))

    async def note(self, suppressions: Sequence[Suppression]) -> int:
        return len(await self._database.fetch("note_suppressions", _documents(suppressions)))

    async def remove(self, address: str, caller: str) -> bool:
        removed = await self._database.fetch("remove_suppression", address, caller)
        return bool(removed and removed[0]["in_force"])

    async def find(self, address: str, caller: str) -> Suppression | None:
        found = await self._database.fetch("find_suppression", address, caller)
        return _suppression(found[0]) if found else None

    async def list(self, query: SuppressionQuery) -> Sequence[Suppression]:
        address, caller = query.after or (None, None)
        found = await self._database.reports.fetch(
            "list_suppressions",
            list(query.callers),
            address,
            caller,
            query.address or None,
            query.reason,
            query.source,
            query.provider or None,
            query.page_size,
        )
        return [_suppression(row) for row in found]

    async def hear(self, reply: Reply) -> int:
        async with self._database.background.transaction() as connection:
            if not await connection.fetch(QUERIES["keep_reply"], reply.provider, reply.id):
                return 0  # A replayed reply must not undo later changes.
            if reply.wants_messages:
                return len(await connection.fetch(QUERIES["lift_stops"], reply.address, reply.provider))
            return len(await connection.fetch(QUERIES["note_suppressions"], await _stops(connection, reply)))

    async def claim_opt_outs(self, provider: str, *, every: float) -> bool:
        return bool(await self._database.background.fetch("claim_opt_outs", provider, every))

    async def replace_opt_outs(self, provider: str, addresses: Collection[str]) -> tuple[int, int]:
        listed = [_opted_out(address, EVERY_CALLER, provider) for address in addresses]
        # Each in a transaction of its own, for each locks its rows in order.
        gone = len(await self._database.background.fetch("lift_opt_outs", provider, list(addresses)))
        new = [
            await self._database.background.fetch("note_suppressions", _noted_now(listed[start : start + PAGE]))
            for start in range(0, len(listed), PAGE)
        ]
        return sum(map(len, new)), gone

    async def sweep(self) -> None:
        while await self._database.background.fetch("forget_suppressions", REMEMBERED):
            pass


async def suppress_recipients(
    connection: PoolConnectionProxy, message_ids: Sequence[object], policy: SuppressionPolicy
) -> None:
    """Puts those on the list of whom receipts about these messages tell that they are to get no more."""
    rows = await connection.fetch(QUERIES["suppressing_events"], message_ids)
    found = [
        Suppression(
            address=row["address"],
            caller=row["caller"],
            reason=SuppressionReason(row["suppression"]),
            source=SuppressionSource.EVENT,
            provider=row["provider"],
            message_id=str(row["message_id"]),
            create_time=row["event_time"],
        )
        for row in rows
    ]
    if found:
        await connection.fetch(QUERIES["note_suppressions"], _documents(policy.dated(s) for s in found))


async def _stops(connection: PoolConnectionProxy, reply: Reply) -> str:
    rows = await connection.fetch(QUERIES["callers_who_wrote"], reply.address, reply.provider, STOP_REACHES_BACK)
    callers = [row["caller"] for row in rows] or [EVERY_CALLER]
    return _noted_now(_opted_out(reply.address, caller, reply.provider) for caller in callers)


def _opted_out(address: str, caller: str, provider: str) -> Suppression:
    return Suppression(
        address=address,
        caller=caller,
        reason=SuppressionReason.UNSUBSCRIBED,
        source=SuppressionSource.PROVIDER,
        provider=provider,
        create_time=datetime.now(UTC),
    )


def _noted_now(suppressions: Iterable[Suppression]) -> str:
    """As `_documents`, dated by the database, because the times are compared with the database's own."""
    return orjson.dumps([_document(s) | {"create_time": None} for s in suppressions]).decode()


def _documents(suppressions: Iterable[Suppression]) -> str:
    """The argument of the queries that write; of several about the same row the last one counts."""
    by_row = {(s.address, s.caller): _document(s) for s in suppressions}
    return orjson.dumps(list(by_row.values())).decode()


def _document(suppression: Suppression) -> dict[str, Any]:
    return {
        "address": suppression.address,
        "caller": suppression.caller,
        "reason": suppression.reason,
        "source": suppression.source,
        "provider": suppression.provider,
        "message_id": suppression.message_id or None,
        "note": suppression.note,
        "create_time": suppression.create_time,
        "expire_time": suppression.expire_time,
    }


def _place(row: Row) -> tuple[int, str, str]:
    return row["change"], row["address"], row["caller"]


def _change(row: Row) -> Change:
    return Change(
        address=row["address"],
        caller=row["caller"],
        reason=SuppressionReason(row["reason"]) if row["reason"] else None,
        expire_time=row["expire_time"],
    )


def _suppression(row: Row) -> Suppression:
    return Suppression(
        address=row["address"],
        caller=row["caller"],
        reason=SuppressionReason(row["reason"]),
        source=SuppressionSource(row["source"]),
        provider=row["provider"],
        message_id=str(row["message_id"] or ""),
        note=row["note"],
        create_time=row["create_time"],
        expire_time=row["expire_time"],
    )
