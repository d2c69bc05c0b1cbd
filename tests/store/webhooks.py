"""Webhooks as a gateway sees them in a real PostgreSQL."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from relaypost_server.core.message import MessageState
from relaypost_server.core.record import MessageRecord
from relaypost_server.core.webhook import ClaimedDelivery, Delivery, DeliveryQuery, Endpoint
from relaypost_server.core.webhook_retry import Answer, Settlement, settle
from relaypost_server.store import writer
from relaypost_server.store.deliveries import PostgresDeliveries
from relaypost_server.store.messages import PostgresLog
from relaypost_server.store.requests import PostgresRequests
from relaypost_server.store.webhooks import PostgresWebhooks
from tests.store.databases import opened
from tests.store.records import record

CALLER = "signup"
SECRET = b"s" * 32
DELAYS = (0.0, 3600.0)
OK, FAILED, GONE = Answer(status=204), Answer(status=500, detail="HTTP 500"), Answer(status=410, detail="HTTP 410")


@dataclass
class Store:
    """One gateway's view of the database."""

    webhooks: PostgresWebhooks
    log: PostgresLog
    requests: PostgresRequests
    receipts: PostgresDeliveries

    async def register(self, *, caller: str = CALLER, secret: bytes = SECRET, **changes: Any) -> Endpoint:
        wanted = Endpoint(id=str(uuid4()), caller=caller, url="https://example.com/hook", create_time=datetime.now(UTC))
        made = await self.webhooks.create(replace(wanted, **changes), secret, most=50)
        assert made is not None
        return made

    async def send(self, **changes: Any) -> MessageRecord:
        sent = record(**{"caller": CALLER, "state": MessageState.SENT} | changes)
        await self.log.append(sent)
        return sent

    async def claim(self, *, each: int = 4, most: int = 100, lease: float = 60.0) -> list[ClaimedDelivery]:
        return list(await self.webhooks.claim(busy={}, each=each, most=most, lease=lease))

    async def settle(self, claimed: ClaimedDelivery, answer: Answer) -> Settlement:
        settlement = replace(settle(claimed, answer, DELAYS, 1.0), pause=0.0)
        await self.webhooks.settle([settlement])
        return settlement

    async def listed(self, **filters: Any) -> list[Delivery]:
        return list(await self.webhooks.deliveries(DeliveryQuery(caller=CALLER, **filters)))

    async def told(self) -> list[str]:
        """The types of all events of the caller, in the order in which they came."""
        return [d.event_type for d in reversed(await self.listed(page_size=500))]


@pytest.fixture
async def store(bundled_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    monkeypatch.setattr(writer, "ANSWER_SECONDS", 30.0)  # No slow moment sends a record over the spool.
    async with opened(bundled_database, tmp_path) as database:
        yield Store(
            PostgresWebhooks(database),
            PostgresLog(database),
            PostgresRequests(database, lease=45.0),
            PostgresDeliveries(database),
        )


@pytest.fixture
async def connection(bundled_database: str, store: Store) -> AsyncIterator["asyncpg.Connection"]:
    connection = await asyncpg.connect(bundled_database)
    yield connection
    await connection.close()
