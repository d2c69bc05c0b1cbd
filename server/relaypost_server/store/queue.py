"""The queue in PostgreSQL: what is to be sent later, and what became of each try.

It holds the messages themselves. An engine carries nothing but pointers, and may
lose or repeat them: whoever follows one has to claim the message here first.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson

from relaypost_server.core.message import Channel, Message
from relaypost_server.core.pace import Grant, Pace, take
from relaypost_server.core.queue import Again, Dead, Death, Job, Lane, Pointer, Queued
from relaypost_server.core.queue_ports import DeadLetter, Enqueued, Step
from relaypost_server.core.record import MessageRecord
from relaypost_server.store import contents, rows
from relaypost_server.store.database import Database
from relaypost_server.store.questions import Questions
from relaypost_server.store.rows import Row
from relaypost_server.store.sql import QUERIES

HandOver = Callable[[Any, Sequence[Pointer]], Awaitable[None]]
"""Gives pointers to an engine while a transaction of this connection is open. Raises QueueUnavailableError."""
SWEPT_AT_ONCE = 1000


class PostgresQueue:
    """A `core.ports.QueueStore`."""

    def __init__(self, database: Database, *, lease: float, hand_over: HandOver, same_database: bool) -> None:
        """`lease`: seconds for which a worker's claim holds.

        `same_database`: whether the engine keeps its pointers in the transaction in which it gets them.
        """
        self._database = database
        self._lease = lease
        self._hand_over = hand_over
        self._same_database = same_database
        self._claims: Questions[Pointer, Job | None] = Questions(self._claim_all, final=lambda job: job is None)
        self._steps: Questions[Step, bool] = Questions(self._settle_all, final=lambda _: True, commands=True)

    async def enqueue(self, queued: Sequence[Queued]) -> Sequence[Enqueued]:
        documents = orjson.dumps([rows.queue_document(q) for q in queued]).decode()
        async with self._database.transaction() as connection:
            found = await connection.fetch(QUERIES["enqueue"], documents, self._same_database)
            pointers = [_pointer(row) for row in found if row["handed"]]
            if pointers:
                await self._hand_over(connection, pointers)
        new = {str(row["message_id"]) for row in found}
        return [Enqueued(message_id=q.record.id, new=q.record.id in new) for q in queued]

    async def earlier(self, queued: Queued) -> tuple[str, str] | None:
        """The message and the fingerprint of the request that had the name before; None where it was forgotten."""
        found = await self._database.fetch("request_of", queued.caller, queued.method, queued.request_id)
        return (str(found[0]["message_id"]), found[0]["fingerprint"]) if found else None

    async def claim(self, pointer: Pointer) -> Job | None:
        return await self._claims.ask(pointer)

    async def settle(self, step: Step) -> None:
        await self._steps.ask(step)

    async def hand_over(self, limit: int) -> int:
        async with self._database.background.transaction() as connection:
            pointers = [_pointer(row) for row in await connection.fetch(QUERIES["hand_over"], limit)]
            if pointers:
                await self._hand_over(connection, pointers)
        return len(pointers)

    async def sweep(self, *, lost: float, dead: float) -> None:
        await self._database.background.fetch("revive_queued", SWEPT_AT_ONCE)
        await self._database.background.fetch("forget_sent")
        await self._database.background.fetch("lost_pointers", lost)
        await self._database.background.fetch("forget_dead", dead)

    async def cancel(self, message_id: str) -> bool:
        return bool(await self._database.fetch("cancel_queued", message_id))

    async def requeue(self, message_id: str, ttl: Mapping[Lane, float]) -> bool:
        found = await self._database.fetch("queued_lane", message_id)
        return bool(found) and bool(await self._database.fetch("requeue", message_id, ttl[Lane(found[0]["lane"])]))

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
        tried = [row["id"] for row in found.values() if row["tries"] > 1]
        attempts = await self._database.fetch("list_attempts", tried) if tried else []
        records = {record.id: record for record in rows.records(found.values(), attempts)}
        return {
            p: _job(found[p.message_id], records[p.message_id]) if p.message_id in found else None for p in pointers
        }

    async def _settle_all(self, steps: Sequence[Step]) -> Mapping[Step, bool]:
        await self._database.fetch("settle_queued", orjson.dumps([_step_document(s) for s in steps]).decode())
        return dict.fromkeys(steps, True)


def _pointer(row: Row) -> Pointer:
    return Pointer(str(row["message_id"]), Lane(row["lane"]), Channel(row["channel"]))


def _job(row: Row, record: MessageRecord) -> Job:
    return Job(
        message=_message(row["content"], record),
        record=record,
        lane=Lane(row["lane"]),
        expires=row["expire_time"],
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
    )


def _step_document(step: Step) -> dict[str, Any]:
    document: dict[str, Any] = {"message_id": step.message_id, "next": "done", "counted": True}
    match step.next:
        case Again(pause, counted):
            document |= {"next": "again", "pause": pause, "counted": counted}
        case Dead(reason):
            document |= {"next": "dead", "death": reason}
    return document
