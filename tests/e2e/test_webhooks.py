"""Webhooks from the call that registers an endpoint to the request that it receives, on the real process."""

import asyncio
import signal
from pathlib import Path

import asyncpg
from relaypost import AsyncClient
from relaypost.v1 import webhook_service_pb2 as pb
from standardwebhooks import Webhook

from tests.e2e.gateway import gateway
from tests.fakes.http import HANG, FakeHttp, answer, fake_http

SETTINGS = {
    "RELAYPOST_WEBHOOK_ALLOW_HTTP": "true",
    "RELAYPOST_WEBHOOK_PORTS": "1-65535",
    "RELAYPOST_WEBHOOK_NETWORKS": "127.0.0.0/8",
    "RELAYPOST_WEBHOOK_RETRY_DELAYS": "0.1",
}


async def received(fake: FakeHttp, count: int) -> None:
    async with asyncio.timeout(30):
        while len(fake.received) < count:
            await asyncio.sleep(0.02)


async def until(client: AsyncClient, state: str) -> pb.WebhookDelivery:
    """The first delivery in this state."""
    async with asyncio.timeout(30):
        while True:
            async for delivery in client.list_webhook_deliveries(state=state):
                return delivery
            await asyncio.sleep(0.02)


async def test_a_kill_in_between_is_followed_by_the_same_event_once_more(bundled_database: str, tmp_path: Path) -> None:
    async with fake_http(HANG) as fake:
        async with gateway(SETTINGS, database=bundled_database, data_dir=tmp_path / "a") as dying:
            async with AsyncClient(dying.grpc, caller="signup") as client:
                made = await client.create_webhook_endpoint(f"{fake.url}/hook", event_types=["message.sent"])
                sent = await client.send_email(
                    to="ada@example.com", subject="Hi", text="Hello", metadata={"order": "7"}
                )
            await received(fake, 1)
            await dying.stop(signal.SIGKILL)
        fake.always(answer(500))
        connection = await asyncpg.connect(bundled_database)
        await connection.execute("UPDATE relaypost.webhook_deliveries SET next_time = now()")  # The lease is over.
        await connection.close()
        async with (
            gateway(SETTINGS, database=bundled_database, data_dir=tmp_path / "b") as heir,
            AsyncClient(heir.grpc, caller="signup") as client,
        ):
            dead = await until(client, "dead")
            assert (dead.message_id, dead.attempts, len(fake.received)) == (sent.message_id, 2, 2)
            rotated = await client.rotate_webhook_secret(made.endpoint.endpoint_id, grace=60.0)
            fake.always(answer(200))
            await client.redeliver_webhook(dead.delivery_id)
            assert (await until(client, "delivered")).delivery_id == dead.delivery_id
            _, metrics = await heir.get("/metrics")
            assert 'relaypost_webhook_attempts_total{result="dead"} 1.0' in metrics
            assert await heir.stop() == 0
    assert len(fake.received) == 3
    assert len({r.headers["webhook-id"] for r in fake.received}) == 1
    last = fake.received[-1]
    for secret in (made.secret, rotated.secret):
        event = Webhook(secret).verify(last.body, dict(last.headers))
    assert (event["type"], event["data"]["message_id"]) == ("message.sent", sent.message_id)
    assert (event["data"]["recipients"], event["data"]["metadata"]) == (["ada@example.com"], {"order": "7"})
    assert b"Hello" not in last.body
    logged = "".join(heir.raw)
    assert "webhook given up" in logged
    assert made.secret.removeprefix("whsec_") not in logged


async def test_by_default_nothing_inside_is_reached(bundled_database: str) -> None:
    async with (
        fake_http(answer(200)) as fake,
        gateway({"RELAYPOST_WEBHOOK_PORTS": "1-65535"}, database=bundled_database) as running,
        AsyncClient(running.grpc) as client,
    ):
        await client.create_webhook_endpoint(f"https://localhost:{fake.port}/")
        await client.send_email(to="ada@example.com", subject="Hi", text="Hi")
        async with asyncio.timeout(20):
            while not (failed := [d async for d in client.list_webhook_deliveries() if d.detail]):
                await asyncio.sleep(0.05)
    assert failed[0].detail == "the address is not allowed"
    assert fake.connections == 0
