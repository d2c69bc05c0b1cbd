"""A database of release 0.1.0, with messages and receipts in it, as this release finds it."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from relaypost_server.core.delivery import EventType
from relaypost_server.core.message import MessageState
from relaypost_server.core.ports import MessageQuery
from relaypost_server.store import migrations
from relaypost_server.store.database import Database
from relaypost_server.store.deliveries import PostgresDeliveries
from relaypost_server.store.messages import PostgresLog
from tests.receipts import event
from tests.store.databases import opened

LAST_OF_0_1 = 9
MESSAGE = "01981f00-0000-7000-8000-000000000001"
_LEFT_BY_0_1 = f"""
INSERT INTO relaypost.messages (
    id, channel, state, guarantee, sender, recipients, create_time, update_time, provider, provider_message_id,
    possible_duplicate, tags, metadata, caller
) VALUES (
    '{MESSAGE}', 'email', 'sent', 'at_least_once', 'noreply@example.com', '{{Ada@example.com,b@example.com}}', now(),
    now(), 'ses', '0100-ses', true, '{{"purpose": "signup"}}', '{{"order": "7"}}', 'shop'
);
INSERT INTO relaypost.attempts (
    message_id, number, provider, kind, skipped, provider_code, detail, provider_message_id, circuit, start_time,
    duration, segments, refused
) VALUES
    ('{MESSAGE}', 1, 'sendgrid', 'unconfirmed', '', '', '', 'x-1', 'closed', now(), 1, 0, '[]'),
    ('{MESSAGE}', 2, 'ses', 'accepted', '', '', '', '0100-ses', 'closed', now(), 1, 0, '[]');
INSERT INTO relaypost.requests (caller, method, request_id, message_id, fingerprint, fence, kept)
VALUES ('shop', 'SendEmail', 'order-7', '{MESSAGE}', 'f', 1, true);
INSERT INTO relaypost.delivery_events (
    provider, event_id, message_id, provider_message_id, type, state, rank, event_time, reject_reason, permanent,
    provider_code, detail, recipients, suppression, raw, waiting
) VALUES
    ('ses', 'e-1', '{MESSAGE}', '0100-ses', 'delivered', 'delivered', 50, '2026-07-01Z', '', true, '', '', '{{}}', NULL, '{{}}', false),
    ('ses', 'e-2', '{MESSAGE}', '0100-ses', 'bounced', 'bounced', 60, '2026-07-02Z', '', true, '', '', '{{ada@example.com}}', 'bounced', '{{}}', false);
UPDATE relaypost.messages SET state = 'bounced', delivery_rank = 60, delivery_time = '2026-07-02Z';
INSERT INTO relaypost.webhook_endpoints (id, caller, url, event_types, description)
VALUES (gen_random_uuid(), 'shop', 'https://example.com/hook', '{{}}', '');
"""  # noqa: E501


@pytest.fixture
async def database(empty_bundled_database: str, tmp_path: Path) -> AsyncIterator[Database]:
    connection = await asyncpg.connect(empty_bundled_database)
    await connection.execute(migrations._PREPARE)
    for migration in migrations.all_migrations():
        if migration.number <= LAST_OF_0_1:
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO relaypost.schema_migrations (number, name) VALUES ($1, $2)",
                migration.number,
                migration.name,
            )
    await connection.execute(_LEFT_BY_0_1)
    await connection.close()
    async with opened(empty_bundled_database, tmp_path) as migrated:
        yield migrated


async def test_a_message_of_0_1_is_found_in_every_way(database: Database) -> None:
    log = PostgresLog(database)
    for provider, known in (("ses", "0100-ses"), ("sendgrid", "x-1")):
        found = await log.find(provider, known)
        assert found is not None
        assert (found.id, found.adjustments) == (MESSAGE, ())
    for query in (
        MessageQuery(request_id="order-7"),
        MessageQuery(tags={"purpose": "signup"}),
        MessageQuery(metadata={"order": "7"}),
    ):
        assert [r.id for r in await log.list(query)] == [MESSAGE]


async def test_receipts_of_0_1_name_nobody_but_those_whom_they_suppressed(database: Database) -> None:
    found = await PostgresLog(database).get(MESSAGE)
    assert found is not None
    shown = [(e.type, e.recipients) for e in found.events]
    assert shown == [(EventType.DELIVERED, ()), (EventType.BOUNCED, ("Ada@example.com",))]


async def test_a_receipt_about_a_message_of_0_1_is_posted_to_its_endpoint(database: Database) -> None:
    complaint = event(EventType.COMPLAINED, message_id=MESSAGE, recipients=("b@example.com",))
    await PostgresDeliveries(database).record([complaint, event(EventType.OPENED, message_id=MESSAGE)])
    found = await PostgresLog(database).get(MESSAGE)
    assert found is not None
    assert found.state is MessageState.COMPLAINED
    async with database.background.transaction() as connection:
        posted = await connection.fetch(
            "SELECT type, data -> 'receipt' -> 'recipients' AS named FROM relaypost.webhook_events"
        )
    assert [tuple(row) for row in posted] == [("message.complained", '["b@example.com"]')]
