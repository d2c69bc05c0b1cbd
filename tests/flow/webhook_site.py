"""Gateways that deliver webhooks from one real PostgreSQL to real servers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from standardwebhooks import Webhook

from relaypost_server.core.message import MessageState
from relaypost_server.core.record import MessageRecord
from relaypost_server.core.webhook import Delivery, DeliveryQuery, DeliveryState, Endpoint
from relaypost_server.flow import webhooks as flow
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.webhook_endpoints import WebhookEndpoints
from relaypost_server.flow.webhooks import DeliveryTerms, WebhookWorker
from relaypost_server.store.messages import PostgresLog
from relaypost_server.store.webhooks import PostgresWebhooks
from relaypost_server.telemetry.metrics import Metrics
from relaypost_server.webhooks.sender import HttpWebhookSender
from tests.fakes.http import FakeHttp
from tests.fakes.targets import LOOPBACK
from tests.store.databases import opened
from tests.store.records import record

CALLER = "signup"
TERMS = DeliveryTerms(delays=(0.001, 0.001), timeout=10.0, each=4)


@dataclass
class Gateway:
    """What of a gateway delivers webhooks."""

    worker: WebhookWorker
    store: PostgresWebhooks
    log: PostgresLog
    sender: HttpWebhookSender
    metrics: Metrics


@dataclass
class Site:
    """Gateways on one database; `run` starts another."""

    run: Callable[..., Awaitable[Gateway]]
    log: PostgresLog
    store: PostgresWebhooks
    secrets: dict[str, str] = field(default_factory=dict)

    async def register(self, url: str, *event_types: str) -> Endpoint:
        endpoints = WebhookEndpoints(self.store, grace=3600.0, clock=Clock())
        made = await endpoints.create(CALLER, url, event_types, "")
        assert made is not None
        endpoint, secret = made
        self.secrets[endpoint.id] = secret
        return endpoint

    async def send(self, count: int = 1) -> list[MessageRecord]:
        sent = [record(caller=CALLER, state=MessageState.SENT) for _ in range(count)]
        await asyncio.gather(*(self.log.append(message) for message in sent))
        return sent

    async def listed(self, state: DeliveryState | None = None) -> list[Delivery]:
        return list(await self.store.deliveries(DeliveryQuery(caller=CALLER, page_size=500, state=state)))

    async def until(self, count: int, state: DeliveryState = DeliveryState.DELIVERED) -> list[Delivery]:
        """So many deliveries in this state."""
        async with asyncio.timeout(20):
            while len(found := await self.listed(state)) < count:
                await asyncio.sleep(0.02)
        return found


@pytest.fixture
async def site(bundled_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(flow, "POLL_SECONDS", 0.05)
    monkeypatch.setattr("relaypost_server.core.webhook_retry.FIRST_PAUSE", 0.0)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(opened(bundled_database, tmp_path / "site"))

        async def run(terms: DeliveryTerms = TERMS, name: str = "a") -> Gateway:
            own = await stack.enter_async_context(opened(bundled_database, tmp_path / name))
            sender = HttpWebhookSender(LOOPBACK, timeout=terms.timeout)
            stack.push_async_callback(sender.close)
            store, metrics = PostgresWebhooks(own), Metrics()
            worker = WebhookWorker(store, sender, terms, metrics, Clock())
            worker.start()
            stack.push_async_callback(worker.stop)
            return Gateway(worker, store, PostgresLog(own), sender, metrics)

        yield Site(run, PostgresLog(database), PostgresWebhooks(database))


def ids(fake: FakeHttp) -> list[str]:
    return [r.headers["webhook-id"] for r in fake.received]


def verified(fake: FakeHttp, secret: str) -> list[dict[str, Any]]:
    """What was received, as the specification's own library reads it."""
    return [Webhook(secret).verify(r.body, dict(r.headers)) for r in fake.received]


def counted(metrics: Metrics, name: str) -> dict[str, float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {"".join(s.labels.values()): s.value for f in families for s in f.samples if s.name == f"relaypost_{name}"}
