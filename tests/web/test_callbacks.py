"""Callbacks over real HTTP, on a real PostgreSQL."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from relaypost_server.core.delivery import DeliveryEvent
from relaypost_server.core.health import Health, MessageLogHealth
from relaypost_server.core.message import MessageState
from relaypost_server.core.ports import Callback, CallbackRefusedError, CallbackUnverifiedError, Disbelief
from relaypost_server.core.webhook_targets import networks
from relaypost_server.flow.callbacks import Callbacks, Matcher
from relaypost_server.store.deliveries import PostgresDeliveries
from relaypost_server.store.messages import PostgresLog
from relaypost_server.telemetry.metrics import Metrics
from relaypost_server.web import callbacks as module
from relaypost_server.web.app import HttpServer, build
from relaypost_server.web.callbacks import CallbackRoutes
from relaypost_server.web.connections import ConnectionLimits
from relaypost_server.web.peers import Peers
from relaypost_server.web.rooms import RoomLimits
from tests.databases import over_tcp
from tests.fakes.http import closed_port
from tests.providers import vendor_events as vendor
from tests.providers.test_receipts import sendgrid_with
from tests.receipts import event
from tests.signing import SendGridKey
from tests.store.databases import opened
from tests.store.records import record


@dataclass
class FakeReader:
    """Says what it is told to, and keeps what it was given."""

    name: str = "fake"
    largest_callback: int = 1000
    reports: bool = True
    says: Sequence[DeliveryEvent] | Exception = ()
    received: list[Callback] = field(default_factory=list)
    refuses_head: bool = False

    def check_head(self, head: Callback) -> None:
        if self.refuses_head:
            raise CallbackRefusedError(Disbelief.UNSIGNED)

    async def read_callback(self, callback: Callback) -> Sequence[DeliveryEvent]:
        self.received.append(callback)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


class NoHealth:
    """The routes of health are not asked here."""

    def read(self) -> Health:
        return Health(channels=(), message_log=MessageLogHealth(available=True, waiting=0))


@dataclass
class Site:
    """A running HTTP side."""

    url: str
    metrics: Metrics
    log: PostgresLog

    async def post(self, provider: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        url = URL(f"{self.url}/callbacks/{provider}", encoded=True)
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=BytesIO(body), headers=headers) as answer,
        ):
            return answer.status, await answer.json()


@asynccontextmanager
async def site(
    database_url: str,
    home: Path,
    *readers: Any,
    rooms: RoomLimits | None = None,
    connections: ConnectionLimits | None = None,
    proxies: Sequence[str] = (),
    suppressions: Any = None,
) -> AsyncIterator[Site]:
    async with opened(database_url, home) as database:
        metrics, peers = Metrics(), Peers(networks(proxies))
        callbacks = Callbacks(readers, PostgresDeliveries(database), metrics, suppressions)
        health: Any = NoHealth()
        app = build(health, metrics, lambda: True, CallbackRoutes(callbacks, peers=peers, limits=rooms).routes())
        server = HttpServer(app, limits=connections, peers=peers, metrics=metrics)
        port = await server.start("127.0.0.1:0")
        try:
            yield Site(f"http://127.0.0.1:{port}", metrics, PostgresLog(database))
        finally:
            await server.stop()


async def test_what_is_answered_with_success_is_in_the_database(bundled_database: str, tmp_path: Path) -> None:
    sent = record(state=MessageState.SENT)
    reader = FakeReader(says=[event(message_id=sent.id)])
    async with site(bundled_database, tmp_path, reader) as running:
        await running.log.append(sent)
        assert await running.post("fake?a=%2Fb", b"x", {"X-Sig": "s"}) == (200, {"status": "accepted"})
        found = await running.log.get(sent.id)
        assert found is not None
        assert found.state is MessageState.DELIVERED
        assert 'relaypost_receipts_total{provider="ses",type' not in running.metrics.render().decode()
        assert 'relaypost_receipts_total{provider="fake",type="delivered"} 1.0' in running.metrics.render().decode()
    [received] = reader.received
    assert (received.path, received.body, received.headers["x-sig"]) == ("/callbacks/fake?a=%2Fb", b"x", "s")


@pytest.mark.parametrize(
    ("error", "status", "word", "reason"),
    [
        *((CallbackRefusedError(r), 403, "refused", r.value) for r in Disbelief if r is not Disbelief.MALFORMED),
        (CallbackRefusedError(Disbelief.MALFORMED), 400, "refused", "malformed"),
        (CallbackUnverifiedError("HTTP 500"), 503, "try again later", "unverified"),
    ],
    ids=str,
)
async def test_refusals_tell_no_reason_but_in_the_metrics(
    bundled_database: str, tmp_path: Path, error: Exception, status: int, word: str, reason: str
) -> None:
    async with site(bundled_database, tmp_path, FakeReader(says=error)) as running:
        assert await running.post("fake") == (status, {"status": word})
        counted = f'relaypost_callbacks_refused_total{{provider="fake",reason="{reason}"}} 1.0'
        assert counted in running.metrics.render().decode()


async def test_a_bug_shows_nothing(bundled_database: str, tmp_path: Path) -> None:
    async with (
        site(bundled_database, tmp_path, FakeReader(says=RuntimeError("secret"))) as running,
        aiohttp.ClientSession() as session,
        session.post(f"{running.url}/callbacks/fake") as answer,
    ):
        assert answer.status == 500
        assert "secret" not in await answer.text()


async def test_only_providers_with_receipts_have_a_route(bundled_database: str, tmp_path: Path) -> None:
    async with site(bundled_database, tmp_path, FakeReader()) as running:
        assert (await running.post("smtp"))[0] == 404
        async with aiohttp.ClientSession() as session, session.get(f"{running.url}/callbacks/fake") as answer:
            assert answer.status == 405


async def test_a_body_beyond_the_bound_is_refused_unread(bundled_database: str, tmp_path: Path) -> None:
    reader = FakeReader()
    async with site(bundled_database, tmp_path, reader) as running:
        assert (await running.post("fake", b"x" * 999))[0] == 200
        assert (await running.post("fake", b"x" * 1001))[0] == 413
    assert len(reader.received) == 1


async def test_a_body_that_does_not_come_gives_its_place_back(
    bundled_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BODY_SECONDS", 1.0)
    async with site(bundled_database, tmp_path, FakeReader(), rooms=RoomLimits(callbacks=1)) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(running.url.rpartition(":")[2]))
        writer.write(b"POST /callbacks/fake HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
        await writer.drain()
        async with asyncio.timeout(5):
            while (await running.post("fake"))[0] != 503:
                await asyncio.sleep(0.01)
            assert b" 408 " in await reader.readline()
        assert (await running.post("fake"))[0] == 200
        writer.close()


async def test_while_the_database_is_away_the_provider_is_to_repeat(bundled_database: str, tmp_path: Path) -> None:
    reader = FakeReader(says=[event()])
    async with site(over_tcp(bundled_database, closed_port()), tmp_path, reader) as running:
        assert await running.post("fake") == (503, {"status": "try again later"})
        counted = 'relaypost_callbacks_refused_total{provider="fake",reason="log_unavailable"} 1.0'
        assert counted in running.metrics.render().decode()


async def test_a_batch_of_ten_thousand_passes_whole_and_once(bundled_database: str, tmp_path: Path) -> None:
    webhook, sent = SendGridKey(), [record(state=MessageState.SENT) for _ in range(100)]
    padding = "x" * 300
    events = [
        vendor.sendgrid("delivered", n, message_id=sent[n % 100].id, response=f"250 OK {padding}")
        for n in range(10_000)
    ]
    body = json.dumps(events).encode()
    assert len(body) > 5 * 1024 * 1024
    reader = sendgrid_with(RELAYPOST_SENDGRID_WEBHOOK_KEY=webhook.public)
    async with site(bundled_database, tmp_path, reader) as running:
        await asyncio.gather(*(running.log.append(r) for r in sent))
        for _ in range(2):
            assert await running.post("sendgrid", body, webhook.headers(body)) == (200, {"status": "accepted"})
        found = [await running.log.get(r.id) for r in sent]
    assert {r.state for r in found if r} == {MessageState.DELIVERED}
    assert {len(r.events) for r in found if r} == {100}


async def test_early_receipts_are_matched_without_being_asked_for(bundled_database: str, tmp_path: Path) -> None:
    late = record(state=MessageState.SENT)
    async with opened(bundled_database, tmp_path) as database:
        deliveries, log = PostgresDeliveries(database), PostgresLog(database)
        await deliveries.record([event(message_id=late.id)])
        matcher = Matcher(deliveries)
        matcher.start()
        await log.append(late)
        async with asyncio.timeout(15):
            while (found := await log.get(late.id)) is None or found.state is not MessageState.DELIVERED:
                await asyncio.sleep(0.05)
        await matcher.stop()
