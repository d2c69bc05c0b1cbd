"""The queue in PostgreSQL: what is to be sent later, and what became of each try.

It holds the messages themselves. An engine carries nothing but pointers, and may
lose or repeat them: whoever follows one has to claim the message here first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
import structlog
from asyncpg.pool import PoolConnectionProxy

from relaypost_server.core.message import Message, MessageState
from relaypost_server.core.pace import Grant, Pace, take
from relaypost_server.core.queue import Again, Dead, Death, Job, Lane, Pointer, Queued
from relaypost_server.core.queue_ports import DeadLetter, Enqueued, Step
from relaypost_server.core.record import MessageRecord
from relaypost_server.store import contents, rows
from relaypost_server.store.database import Database
from relaypost_server.store.enqueue import Intake
from relaypost_server.store.hand_over import HandOver
from relaypost_server.store.questions import Questions
from relaypost_server.store.rows import FIRST_FENCE, Row
from relaypost_server.store.sql import QUERIES

SWEPT_AT_ONCE = 1000

log = structlog.get_logger("relaypost.queue")


class PostgresQueue:
    """A `core.ports.QueueStore`."""

    def __init__(self, database: Database, *, lease: float, hand_over: HandOver) -> None:
        """`lease`: seconds for which a worker's claim holds."""
        self._database = database
        self._lease = lease
        self._intake = Intake(database, hand_over)
        self._hand_over = hand_over
        self._claims: Questions[Pointer, Job | None] = Questions(
            self._claim_all, final=lambda job: job is None, take_back=self._take_back
        )
        self._steps: Questions[Step, bool] = Questions(self._settle_all, final=lambda _: True, commands=True)

    async def enqueue(self, queued: Sequence[Queued]) -> Sequence[Enqueued]:
        return await self._intake.store(queued)

    async def earlier(self, queued: Queued) -> tuple[str, str] | None:
        """The message and the fingerprint of the request that had the name before; None where it was forgotten."""
        found = await self._database.fetch("request_of", queued.caller, queued.method, queued.request_id)
        return (str(found[0]["message_id"]), found[0]["fingerprint"]) if found else None

    async def claim(self, pointer: Pointer) -> Job | None:
        return await self._claims.ask(pointer)

    async def settle(self, step: Step) -> None:
        await self._steps.ask(step)

    async def hand_over(self, limit: int) -> int:
        return await self._hand_over.run(limit)

    async def sweep(self, *, lost: float, dead: float) -> None:
        await self._database.background.fetch("revive_queued", SWEPT_AT_ONCE)
        await self._database.background.fetch("forget_sent")
        await self._database.background.fetch("lost_pointers", lost)
        await self._database.background.fetch("forget_dead", dead)

    async def cancel(self, message_id: str) -> MessageRecord | None:
        async with self._database.transaction() as connection:
            await connection.fetch(QUERIES["cancel_queued"], message_id)
            return await _record(connection, message_id)

    async def requeue(self, message_id: str, ttl: Mapping[Lane, float]) -> tuple[bool, MessageRecord | None]:
        lanes, seconds = [lane.value for lane in ttl], list(ttl.values())
        async with self._database.transaction() as connection:
            requeued = await connection.fetch(QUERIES["requeue"], message_id, lanes, seconds)
            return bool(requeued), await _record(connection, message_id)

    async def dead_letters(self, *, before: str | None, limit: int) -> Sequence[DeadLetter]:
        async with self._database.reports.session() as session:
            found = await session.fetch("dead_letters", before, limit)
            attempts = await session.fetch("list_attempts", [row["id"] for row in found])
        records = rows.records(found, attempts)
        return [
            DeadLetter(record=record, lane=Lane(row["lane"]), reason=Death(row["death"]), tries=row["tries"])
            for record, row in zip(records, found, strict=True)
        ]

    async def take(self, provider: str, pace: Pace, wanted: int) -> Grant:
        async with self._database.transaction() as connection:
            (row,) = await connection.fetch(QUERIES["lock_rate"], provider, pace.burst)
            grant = take(pace, level=row["tokens"], age=row["age"], wanted=wanted)
            await connection.execute(QUERIES["set_rate"], provider, grant.left)
        return grant

    async def _claim_all(self, pointers: Sequence[Pointer]) -> Mapping[Pointer, Job | None]:
        ids = [p.message_id for p in pointers]
        found = {str(row["id"]): row for row in await self._database.fetch("claim_queued", ids, self._lease)}
        tried = [row["id"] for row in found.values() if row["fence"] > FIRST_FENCE]  # Requeued ones count from 1 again.
        attempts = await self._database.fetch("list_attempts", tried) if tried else []
        records = {record.id: record for record in rows.records(found.values(), attempts)}
        if len(found) < len(ids):
            await self._drop_orphans([message_id for message_id in ids if message_id not in found])
        return {
            p: _job(found[p.message_id], records[p.message_id]) if p.message_id in found else None for p in pointers
        }

    async def _take_back(self, jobs: Sequence[Job | None]) -> None:
        """Ends claims whose workers were cancelled meanwhile: other workers need not wait for the lease to end."""
        held = [job for job in jobs if job is not None]
        records = [
            rows.finished(replace(job.record, state=MessageState.QUEUED), fence=job.fence, kept=False) for job in held
        ]
        steps = [Step(message_id=job.record.id, fence=job.fence, next=Again(0.0, counted=False)) for job in held]
        async with self._database.transaction() as connection:
            await connection.fetch(QUERIES["write_batch"], rows.batch(records))
            await connection.fetch(QUERIES["settle_queued"], _documents(steps))

    async def _drop_orphans(self, message_ids: Sequence[str]) -> None:
        """A message whose row was deleted cannot be sent; left in the queue it would come again for ever."""
        for row in await self._database.fetch("drop_orphans", message_ids):
            log.error("queued message dropped: it is not in the log any more", message_id=str(row["message_id"]))

    async def _settle_all(self, steps: Sequence[Step]) -> Mapping[Step, bool]:
        await self._database.fetch("settle_queued", _documents(steps))
        return dict.fromkeys(steps, True)


async def _record(connection: PoolConnectionProxy, message_id: str) -> MessageRecord | None:
    messages = await connection.fetch(QUERIES["get_message"], message_id)
    return (
        rows.records(messages, await connection.fetch(QUERIES["list_attempts"], [message_id]))[0] if messages else None
    )


def _job(row: Row, record: MessageRecord) -> Job:
    return Job(
        message=_message(row["content"], record),
        record=record,
        lane=Lane(row["lane"]),
        time_left=row["time_left"],
        tries=row["tries"],
        fence=row["fence"],
    )


def _message(data: bytes, record: MessageRecord) -> Message[Any] | None:
    try:
        content: Any = contents.read(data)
    except contents.UnreadableError:
        return None
    return Message(
        id=record.id,
        content=content,
        create_time=record.create_time,
        guarantee=record.guarantee,
        metadata=record.metadata,
        caller=record.caller,
        adjustments=record.adjustments,
    )


def _documents(steps: Sequence[Step]) -> str:
    return orjson.dumps([_step_document(step) for step in steps]).decode()


def _step_document(step: Step) -> dict[str, Any]:
    document: dict[str, Any] = {"message_id": step.message_id, "fence": step.fence, "next": "done", "counted": True}
    match step.next:
        case Again(pause, counted):
            document |= {"next": "again", "pause": pause, "counted": counted}
        case Dead(reason):
            document |= {"next": "dead", "death": reason}
    return document
