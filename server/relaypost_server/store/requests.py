"""Claimed requests in PostgreSQL.

A new request is claimed in the batch writer's next statement, which costs no
commit of its own. Only a name that is taken is looked at one by one.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog
from asyncpg.pool import PoolConnectionProxy

from relaypost_server.core.idempotency import (
    Begun,
    Claim,
    InProgress,
    KnownRequest,
    Replay,
    Resume,
    Reused,
    Started,
    reconsider,
)
from relaypost_server.core.message import MessageState
from relaypost_server.core.record import MessageRecord
from relaypost_server.store import rows
from relaypost_server.store.database import Database
from relaypost_server.store.rows import FIRST_FENCE, Row
from relaypost_server.store.sql import QUERIES
from relaypost_server.store.writer import UnansweredError

log = structlog.get_logger("relaypost.requests")


class PostgresRequests:
    """A `core.ports.RequestLog`."""

    def __init__(self, database: Database, *, lease: float) -> None:
        """`lease`: seconds for which a claim holds."""
        self._database = database
        self._lease = lease

    async def begin(self, claim: Claim) -> Begun | Replay | InProgress | Reused:
        try:
            new = await self._database.writer.write(claim.record.id, rows.claimed(claim, lease=self._lease))
        except UnansweredError:
            if not claim.sent_anyway:
                self._give_back(claim)
            raise
        except asyncio.CancelledError:
            self._give_back(claim)
            raise
        if new:
            return Begun(fence=FIRST_FENCE, record=claim.record)
        async with self._database.transaction() as connection:
            return await self._claim_known(connection, claim)

    async def starting(self, record: MessageRecord, started: Started, *, fence: int) -> bool:
        document = rows.starting(record, started, fence=fence, lease=self._lease)
        return await self._database.writer.write(record.id, document)

    async def finish(self, record: MessageRecord, *, fence: int, kept: bool) -> bool:
        return await self._database.writer.append(record.id, rows.finished(record, fence=fence, kept=kept))

    async def record_unproven(self, record: MessageRecord, *, kept: bool) -> bool:
        return await self._database.writer.append(record.id, rows.unproven(record, kept=kept))

    async def abandoned(self, limit: int) -> Sequence[KnownRequest]:
        async with self._database.background.transaction() as connection:
            found = await connection.fetch(QUERIES["abandoned_requests"], limit)
            records = [(row, await _record(connection, row)) for row in found]
            if orphans := [row["message_id"] for row, record in records if record is None]:
                ended = await connection.fetch(QUERIES["end_orphaned_requests"], orphans)
                log.error("abandoned requests ended: their messages are not in the log any more", requests=len(ended))
            return [rows.known_request(row, record) for row, record in records if record is not None]

    async def settle(self, record: MessageRecord, *, fence: int, kept: bool, waiting: bool = False) -> bool:
        document = rows.settled(record, fence=fence, kept=kept)
        if not waiting or kept:
            return await self._database.writer.write(record.id, document)
        async with self._database.transaction() as connection:
            settled = await connection.fetch(QUERIES["write_batch"], rows.batch([document]))
            if settled:
                await connection.execute(QUERIES["release_queued"], record.id)
        return bool(settled)

    async def forget(self, *, older_than: float) -> None:
        await self._database.background.fetch("forget_requests", older_than)

    async def _claim_known(self, connection: PoolConnectionProxy, claim: Claim) -> Begun | Replay | InProgress | Reused:
        key = claim.key
        row = await connection.fetchrow(QUERIES["lock_request"], key.caller, key.method, key.request_id)
        if row is None:  # Forgotten this very moment.
            return InProgress()
        record = await _record(connection, row)
        if record is None:  # Deleted from the log: it can neither be answered again nor be sent safely.
            return InProgress()
        if record.id == claim.record.id:  # The answer to our own claim was lost, and it was written twice.
            return Begun(fence=row["fence"], record=claim.record)
        answer = reconsider(rows.known_request(row, record), claim.fingerprint, datetime.now(UTC))
        if isinstance(answer, Replay | Resume) and answer.record is not record:
            # The attempts of a gateway that died are recorded before anything else is done. A message that goes on
            # keeps its state until then: FAILED would reach streams and webhooks, and would be wrong.
            state = answer.record.state if isinstance(answer, Replay) else record.state
            end = rows.finished(
                replace(answer.record, state=state), fence=row["fence"], kept=isinstance(answer, Replay)
            )
            await connection.fetch(QUERIES["write_batch"], rows.batch([end]))
        return await self._resume(connection, answer.record) if isinstance(answer, Resume) else answer

    async def _resume(self, connection: PoolConnectionProxy, record: MessageRecord) -> Begun:
        """Leases the request to a new walk."""
        fence = await connection.fetchval(QUERIES["claim_again"], record.id, self._lease)
        await connection.execute(QUERIES["send_again"], record.id)
        return Begun(fence=fence, record=replace(record, state=MessageState.SENDING))

    def _give_back(self, claim: Claim) -> None:
        """The claim may have been granted after all, and nobody will send: let another try."""
        record = replace(claim.record, state=MessageState.FAILED)
        self._database.writer.append(record.id, rows.finished(record, fence=FIRST_FENCE, kept=False))


async def _record(connection: PoolConnectionProxy, row: Row) -> MessageRecord | None:
    """The record of a request's message; None if it was deleted."""
    messages = await connection.fetch(QUERIES["get_message"], row["message_id"])
    attempts = await connection.fetch(QUERIES["list_attempts"], [row["message_id"]])
    return next(iter(rows.records(messages, attempts)), None)
