"""The SQL that writes a state follows `core.messages.transitions`: each pair of states against each statement."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest

from relaypost_server.core.delivery import DeliveryEvent, EventType
from relaypost_server.core.ids import uuid7
from relaypost_server.core.message import MessageState
from relaypost_server.core.messages.transitions import BY_CAUSE, INITIAL, LEGAL, Cause, is_legal
from relaypost_server.core.queue import Lane
from relaypost_server.core.record import MessageRecord
from relaypost_server.store import migrations, rows
from relaypost_server.store.sql import QUERIES
from tests.store.records import START, record
from tests.transitions import pairs_of_states

S = MessageState
_numbers = itertools.count(1)
EVENTS = {
    S.SENT: EventType.SENT,
    S.DEFERRED: EventType.DEFERRED,
    S.FAILED: EventType.FAILED,
    S.DELIVERED: EventType.DELIVERED,
    S.BOUNCED: EventType.BOUNCED,
    S.COMPLAINED: EventType.COMPLAINED,
}
"""The receipt that moves a message to a state."""
Write = Callable[[asyncpg.Connection, MessageRecord, MessageState], Awaitable[object]]
"""Lets one statement try to move the message to the state."""


@pytest.fixture
async def connection(bundled_database: str) -> AsyncIterator[asyncpg.Connection]:
    """The schema, and one message in every state that a test asks for."""
    opened = await asyncpg.connect(bundled_database)
    await migrations.migrate(opened)
    yield opened
    await opened.close()


async def put(connection: asyncpg.Connection, state: MessageState, **changes: Any) -> MessageRecord:
    """A message in this state, with a request that nobody holds; the trigger does not look."""
    number = next(_numbers)
    made = record(id=uuid7(int(START.timestamp() * 1000), number), state=S.SENT, attempts=(), **changes)
    await connection.fetch(QUERIES["write_batch"], rows.batch([rows.inserted(made)]))
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute("UPDATE relaypost.messages SET state = $2 WHERE id = $1", made.id, state)
    await connection.execute(
        "INSERT INTO relaypost.requests (caller, method, request_id, message_id, fingerprint, fence)"
        " VALUES ('c', 'm', $1, $2, 'f', 1)",
        made.id,
        UUID(made.id),
    )
    return replace(made, state=state)


async def enqueue(connection: asyncpg.Connection, message: MessageRecord, death: str | None = None) -> None:
    await connection.execute(
        "INSERT INTO relaypost.queue (message_id, lane, channel, content, due_time, expire_time, death)"
        " VALUES ($1, 'bulk', 'email', '', now(), now() + interval '1 hour', $2)",
        UUID(message.id),
        death,
    )


async def take(connection: asyncpg.Connection, message: MessageRecord, _: MessageState) -> None:
    await enqueue(connection, message)
    await connection.fetch(QUERIES["claim_queued"], [message.id], 60.0)


async def repeat(connection: asyncpg.Connection, message: MessageRecord, _: MessageState) -> None:
    await connection.execute(QUERIES["send_again"], message.id)


def document(op: str) -> Write:
    async def write(connection: asyncpg.Connection, message: MessageRecord, target: MessageState) -> None:
        if op == "settle":
            await connection.execute(
                "UPDATE relaypost.requests SET lease_until = now() WHERE message_id = $1", message.id
            )
        end = replace(message, state=target)
        made = {
            "finish": lambda: rows.finished(end, fence=1, kept=False),
            "unproven": lambda: rows.unproven(end, kept=False),
            "settle": lambda: rows.settled(end, fence=1, kept=False),
        }[op]()
        await connection.fetch(QUERIES["write_batch"], rows.batch([made]))

    return write


async def report(connection: asyncpg.Connection, message: MessageRecord, target: MessageState) -> None:
    event = DeliveryEvent(
        provider="ses",
        event_id=f"e-{message.id}",
        message_id=message.id,
        provider_message_id="p",
        type=EVENTS[target],
        time=START,
    )
    documents = f"[{orjson.dumps(rows.event_document(event)).decode()}]"
    await connection.fetch(QUERIES["add_delivery_events"], documents)
    await connection.fetch(QUERIES["fold_delivery_events"], [message.id])


async def count_anew(connection: asyncpg.Connection, message: MessageRecord, target: MessageState) -> None:
    if target is not S.SENT:
        await connection.execute(
            "INSERT INTO relaypost.delivery_events (provider, event_id, message_id, provider_message_id, type, state,"
            " rank, event_time, reject_reason, permanent, provider_code, detail, raw, waiting)"
            " VALUES ('ses', $1::text, $2, '', 'sent', $3, 99, now(), '', true, '', '', '{}', false)",
            message.id,
            UUID(message.id),
            target,
        )
    await connection.execute(QUERIES["refold_delivery_events"], message.id)


async def cancel(connection: asyncpg.Connection, message: MessageRecord, _: MessageState) -> None:
    await enqueue(connection, message)
    await connection.fetch(QUERIES["cancel_queued"], message.id)


async def requeue(connection: asyncpg.Connection, message: MessageRecord, _: MessageState) -> None:
    await enqueue(connection, message, "its time was over")
    await connection.fetch(QUERIES["requeue"], message.id, [Lane.BULK.value], [60.0])


async def resolve(connection: asyncpg.Connection, message: MessageRecord, target: MessageState) -> None:
    if target in (S.QUEUED, S.DEAD):
        await enqueue(connection, message, "its time was over" if target is S.DEAD else None)
    found = "sent" if target is S.SENT else "failed"
    await connection.fetch(QUERIES["resolve_message"], message.id, found, "not sent")


STATEMENTS: dict[str, tuple[Cause, Write, set[MessageState]]] = {
    "claim_queued": (Cause.TAKE, take, {S.SENDING}),
    "send_again": (Cause.REPEAT, repeat, {S.SENDING}),
    "finish": (Cause.RESULT, document("finish"), set(S)),
    "unproven": (Cause.RESULT, document("unproven"), set(S)),
    "settle": (Cause.RECOVERY, document("settle"), set(S)),
    "fold_delivery_events": (Cause.RECEIPT, report, set(EVENTS)),
    "refold_delivery_events": (Cause.SECOND_COPY, count_anew, set(EVENTS)),
    "cancel_queued": (Cause.CANCEL, cancel, {S.CANCELLED}),
    "requeue": (Cause.REQUEUE, requeue, {S.QUEUED}),
    "resolve_message": (Cause.RESOLVE, resolve, {S.SENT, S.FAILED, S.QUEUED, S.DEAD}),
}
"""Every statement that changes a state, why it does, and to which states it can."""


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_statement_moves_a_message_where_the_table_allows_it(name: str, connection: asyncpg.Connection) -> None:
    cause, write, targets = STATEMENTS[name]
    wrong = []
    for source, target in pairs_of_states():
        if target in targets:
            message = await put(connection, source)
            await write(connection, message, target)
            found = await connection.fetchval("SELECT state FROM relaypost.messages WHERE id = $1", message.id)
            if found != (target if is_legal(source, target, cause) else source):
                wrong.append((source.value, target.value, found))
    assert not wrong


def test_every_statement_that_writes_a_state_is_tried() -> None:
    """`state = ` of messages appears in no other one; `message_states` of webhooks and batches are other columns."""
    writing = {
        name
        for name, text in QUERIES.items()
        if "UPDATE relaypost.messages" in text
        and "state = " in text.split("UPDATE relaypost.messages", 1)[1].split("WHERE")[0]
    }
    assert writing == set(STATEMENTS) - {"finish", "unproven", "settle"} | {"write_batch"}


def test_every_pair_of_the_table_is_reached_by_a_statement() -> None:
    reached = {
        (source, target)
        for cause, _, targets in STATEMENTS.values()
        for source, target in BY_CAUSE[cause]
        if target in targets
    }
    assert reached == LEGAL


async def test_the_tests_database_raises_on_any_other_change(connection: asyncpg.Connection) -> None:
    refused = set()
    for source, target in pairs_of_states():
        message = await put(connection, source)
        try:
            await connection.execute("UPDATE relaypost.messages SET state = $2 WHERE id = $1", message.id, target)
        except asyncpg.RaiseError:
            refused.add((source, target))
    assert refused == set(pairs_of_states()) - LEGAL


async def test_the_tests_database_raises_on_a_message_that_begins_at_its_end(connection: asyncpg.Connection) -> None:
    refused = set()
    for state in MessageState:
        try:
            await connection.fetch(QUERIES["write_batch"], rows.batch([rows.inserted(record(state=state))]))
        except asyncpg.RaiseError:
            refused.add(state)
    assert refused == set(MessageState) - INITIAL


async def test_an_illegal_end_leaves_the_request_as_it_was_too(connection: asyncpg.Connection) -> None:
    """A worker that lost its lease ends a try of a message that was cancelled meanwhile."""
    message = await put(connection, S.CANCELLED)
    await connection.execute("UPDATE relaypost.requests SET kept = true WHERE message_id = $1", message.id)
    late = rows.finished(replace(message, state=S.QUEUED), fence=1, kept=False)
    assert await connection.fetch(QUERIES["write_batch"], rows.batch([late])) == []
    assert await connection.fetchval("SELECT kept FROM relaypost.requests WHERE message_id = $1", message.id)


async def test_two_who_cancel_and_requeue_at_once_do_not_lock_one_another_out(
    connection: asyncpg.Connection, bundled_database: str
) -> None:
    other = await asyncpg.connect(bundled_database)
    for _ in range(20):
        message = await put(connection, S.DEAD)
        await enqueue(connection, message, "its time was over")
        async with asyncio.timeout(10):
            done = await asyncio.gather(
                connection.fetch(QUERIES["cancel_queued"], message.id),
                other.fetch(QUERIES["requeue"], message.id, [Lane.BULK.value], [60.0]),
            )
        state = await connection.fetchval("SELECT state FROM relaypost.messages WHERE id = $1", message.id)
        queued = await connection.fetchval("SELECT count(*) FROM relaypost.queue WHERE message_id = $1", message.id)
        assert (state, queued) in (("queued", 1), ("cancelled", 0))
        assert done[1] == [] or state == "cancelled" or done[0] == []
    await other.close()
