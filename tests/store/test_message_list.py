"""Lists of messages read what they show, and not the table; sweeps read what they delete."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from relaypost_server.core.message import Channel, MessageState
from relaypost_server.core.ports import MessageQuery
from relaypost_server.core.queue import Pointer
from relaypost_server.store import migrations
from relaypost_server.store.hand_over import HandOverByLease
from relaypost_server.store.message_list import list_statement
from relaypost_server.store.queue import PostgresQueue
from relaypost_server.store.sql import QUERIES
from tests.store.databases import opened
from tests.store.queues import letter

MESSAGES = 60_000
PAGE = 50
_FILL = """
INSERT INTO relaypost.messages (
    id, channel, state, guarantee, sender, recipients, create_time, update_time, provider, provider_message_id,
    possible_duplicate, tags, metadata, batch_id
)
SELECT
    (lpad(to_hex(1782000000000 + n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
    CASE WHEN n < 1000 THEN 'sms' ELSE 'email' END,
    CASE WHEN n < 2000 THEN 'sent' WHEN n % 9000 = 0 THEN 'failed' ELSE 'delivered' END,
    'at_least_once', 'noreply@example.com', ARRAY['user-' || n % 20000 || '@example.com'],
    to_timestamp(1782000000 + n / 1000.0), now(), CASE WHEN n < 3000 THEN 'smtp' ELSE 'ses' END,
    'sid-' || n, false,
    CASE WHEN n % 2 = 0 THEN '{"purpose": "signup"}'::jsonb ELSE '{}' END,
    CASE WHEN n % 3 > 0 THEN jsonb_build_object('order', n::text, 'tenant', (n % 900)::text) ELSE '{}' END,
    CASE WHEN n BETWEEN 5000 AND 45000 THEN '01981f00-0000-7000-8000-00000000ba7c'::uuid END
FROM generate_series(1, $1) AS n
"""
"""What is asked for below lies among the oldest messages."""


@pytest.fixture
async def connection(bundled_database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(bundled_database)
    await migrations.migrate(connection)
    yield connection
    await connection.close()


async def rows_read(connection: asyncpg.Connection, statement: str, *arguments: object) -> int:
    """Rows that the statement's plan took from tables and indexes."""
    async with connection.transaction():
        (plan,) = json.loads(
            await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) {statement}", *arguments)
        )
    return _scanned(plan["Plan"])


def _scanned(node: dict[str, Any]) -> int:
    below = sum(_scanned(child) for child in node.get("Plans", []))
    if "Scan" not in node["Node Type"] or node["Node Type"] in ("CTE Scan", "Function Scan", "Bitmap Index Scan"):
        return below
    loops = node["Actual Loops"]
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return below + int((node["Actual Rows"] + removed) * loops)


_NAMES = """
INSERT INTO relaypost.attempts
SELECT
    id, 1, provider, 'accepted', '', '', '', provider_message_id, 'closed', create_time, 0, NULL, NULL, 0, '[]'
FROM relaypost.messages;
UPDATE relaypost.attempts SET number = 2, provider_message_id = 'second' WHERE provider_message_id = 'sid-77';
INSERT INTO relaypost.requests (caller, method, request_id, message_id, fingerprint, fence)
SELECT 'shop-' || right(id::text, 1), 'SendEmail', 'order-' || right(id::text, 6), id, '', 0 FROM relaypost.messages;
INSERT INTO relaypost.batches (id, caller, request_id, fingerprint)
VALUES ('01981f00-0000-7000-8000-00000000ba7c', 'shop', 'campaign', '');
"""


_NEED_STATISTICS = (
    MessageQuery(page_size=PAGE, recipient="user-77@example.com"),
    MessageQuery(page_size=PAGE, metadata={"order": "77"}, provider="ses", states=(MessageState.DELIVERED,)),
)
"""Without any, the planner takes every table for a small one."""


@pytest.mark.parametrize("analyzed", [False, True])
async def test_no_filter_reads_more_than_a_small_part_of_the_table(
    connection: asyncpg.Connection, analyzed: bool
) -> None:
    await connection.execute("ALTER TABLE relaypost.messages DISABLE TRIGGER USER")
    await connection.execute(_FILL.replace("$1", str(MESSAGES)))
    await connection.execute(_NAMES)
    if analyzed:
        await connection.execute("ANALYZE")
    oldest = datetime.fromtimestamp(1782000000, UTC)
    for query in (
        MessageQuery(page_size=PAGE),
        MessageQuery(page_size=PAGE, provider="smtp"),
        MessageQuery(page_size=PAGE, channel=Channel.SMS),
        MessageQuery(page_size=PAGE, states=(MessageState.SENT,)),
        MessageQuery(page_size=PAGE, states=(MessageState.SENT, MessageState.FAILED, MessageState.QUEUED)),
        *(_NEED_STATISTICS if analyzed else ()),
        MessageQuery(page_size=PAGE, provider="smtp", created_before=oldest + timedelta(seconds=2)),
        MessageQuery(page_size=PAGE, channel=Channel.SMS, created_from=oldest, states=(MessageState.SENT,)),
        MessageQuery(page_size=PAGE, provider="absent"),
        MessageQuery(page_size=PAGE, states=(MessageState.DEAD,)),
        MessageQuery(page_size=PAGE, request_id="order-000077"),
        MessageQuery(page_size=PAGE, request_id="absent"),
        MessageQuery(page_size=PAGE, request_id="campaign"),
        MessageQuery(page_size=PAGE, request_id="campaign", states=(MessageState.FAILED,)),
        MessageQuery(page_size=PAGE, tags={"purpose": "signup"}),
        MessageQuery(page_size=PAGE, tags={"purpose": "absent"}),
        MessageQuery(page_size=PAGE, metadata={"order": "77"}),
        MessageQuery(page_size=PAGE, metadata={"tenant": "77"}),
        MessageQuery(page_size=PAGE, tags={"purpose": "signup"}, metadata={"order": "76"}),
        MessageQuery(page_size=PAGE, tags={"purpose": "signup"}, metadata={"order": "absent"}),
        MessageQuery(page_size=PAGE, tags={"purpose": "signup"}, states=(MessageState.FAILED, MessageState.SENT)),
    ):
        read = await rows_read(connection, *_inlined(query))
        # Where few messages fit the filter, the planner may prefer to read them all and sort them.
        assert read <= MESSAGES // 20, query


@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_message_is_found_by_its_providers_id_without_a_scan(
    connection: asyncpg.Connection, analyzed: bool
) -> None:
    await connection.execute("ALTER TABLE relaypost.messages DISABLE TRIGGER USER")
    await connection.execute(_FILL.replace("$1", str(MESSAGES)))
    await connection.execute(_NAMES)
    if analyzed:
        await connection.execute("ANALYZE")
    for known in ("sid-78", "second", "absent"):
        assert await rows_read(connection, QUERIES["find_message"], "smtp", known) <= 3, known


def _inlined(query: MessageQuery) -> tuple[Any, ...]:
    statement, arguments = list_statement(query)
    return (statement, *arguments)


_SCHEDULE = """
WITH scheduled AS (
    SELECT gen_random_uuid() AS id, n FROM generate_series(1, $1) AS n
), asked AS (
    INSERT INTO relaypost.requests (caller, method, request_id, message_id, fingerprint, fence, remembered_from)
    SELECT 'shop', 'EnqueueEmail', n::text, id, '', 0, now() + interval '90 days' FROM scheduled
)
INSERT INTO relaypost.queue (message_id, lane, channel, content, due_time, expire_time)
SELECT id, 'bulk', 'email', '', now() + interval '90 days', now() + interval '92 days' FROM scheduled
"""


async def test_a_sweep_reads_only_the_requests_that_it_deletes(connection: asyncpg.Connection) -> None:
    await connection.execute(_SCHEDULE.replace("$1", "100000"))
    await connection.execute(
        "INSERT INTO relaypost.requests (caller, method, request_id, message_id, fingerprint, fence, remembered_from)"
        " SELECT 'shop', 'SendEmail', n::text, gen_random_uuid(), '', 0, now() - interval '80 hours'"
        " FROM generate_series(1, 20) AS n"
    )
    await connection.execute("UPDATE relaypost.requests SET create_time = now() - interval '81 hours'")
    await connection.execute("ANALYZE relaypost.requests")
    await connection.execute("ANALYZE relaypost.queue")
    seventy_two_hours = 72 * 3600.0
    assert await rows_read(connection, QUERIES["forget_requests"], seventy_two_hours) <= 100
    left = await connection.fetchval("SELECT count(*) FROM relaypost.requests WHERE method = 'SendEmail'")
    assert left == 0


async def test_a_request_whose_message_is_still_queued_is_put_off_and_not_looked_at_again(
    connection: asyncpg.Connection,
) -> None:
    """A dead letter, or a message that was scheduled by an earlier version."""
    await connection.execute(_SCHEDULE.replace("$1", "3000"))
    await connection.execute("UPDATE relaypost.requests SET remembered_from = now() - interval '80 hours'")
    for _ in range(2):
        await connection.execute(QUERIES["forget_requests"].replace("$1", "72 * 3600"))
    assert await connection.fetchval("SELECT count(*) FROM relaypost.requests") == 3000
    assert await rows_read(connection, QUERIES["forget_requests"], 72 * 3600.0) <= 100


async def test_a_scheduled_message_is_remembered_from_its_time_on(bundled_database: str, tmp_path: Path) -> None:
    due = datetime.now(UTC) + timedelta(days=30)
    async with opened(bundled_database, tmp_path) as database:

        async def put(pointers: Sequence[Pointer]) -> None:
            raise AssertionError(pointers)

        queue = PostgresQueue(database, lease=60, hand_over=HandOverByLease(database, put))
        await queue.enqueue([letter(due=due, name="later")])
    connection = await asyncpg.connect(bundled_database)
    assert await connection.fetchval("SELECT remembered_from FROM relaypost.requests") == due
    await connection.close()
