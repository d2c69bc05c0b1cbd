"""Receipts, from the provider's callback to the caller, on the real process."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
from relaypost import AsyncClient
from relaypost.v1 import message_pb2

from tests.e2e.gateway import AWS_KEYS, Gateway, gateway, on_record
from tests.e2e.test_process import run
from tests.fakes.http import HANG, Reply, Request, answer, fake_http
from tests.providers import vendor_events as vendor
from tests.signing import TOPIC, TOPIC_HEADER, SnsTopic

UNCONFIRMED = message_pb2.MESSAGE_STATE_UNCONFIRMED
DELIVERED = message_pb2.MESSAGE_STATE_DELIVERED


async def post(running: Gateway, body: bytes) -> int:
    url = f"http://{running.http}/callbacks/ses"
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=TOPIC_HEADER) as answered:
        return answered.status


async def test_an_unconfirmed_message_is_settled_by_its_receipt(bundled_database: str, tmp_path: Path) -> None:
    """SES hangs after the whole request; its receipt comes to another replica than the one that sent."""
    async with fake_http(HANG) as ses, fake_http() as sns:
        topic = SnsTopic(base=sns.url)
        sns.reply = lambda request: page(topic, sns.url, request)
        environ = {
            **AWS_KEYS,
            "RELAYPOST_SES_ENDPOINT": ses.url,
            "RELAYPOST_SES_TIMEOUT_SECONDS": "1",
            "RELAYPOST_SES_TOPIC_ARN": TOPIC,
            "RELAYPOST_SES_TOPIC_ENDPOINT": sns.url,
        }
        async with (
            gateway(environ, database=bundled_database, data_dir=tmp_path / "a") as sender,
            gateway(environ, database=bundled_database, data_dir=tmp_path / "b") as receiver,
            AsyncClient(sender.grpc) as client,
        ):
            fields: dict[str, Any] = {"to": "ada@example.com", "subject": "Hi", "text": "Hi", "at_most_once": True}
            sent = await client.send_email(**fields, request_id="once")
            assert sent.state == UNCONFIRMED
            await on_record(client, sent.message_id)
            code, out, _ = await run("watch", sent.message_id, "--target", sender.grpc, "--timeout", "2")
            assert (code, out.split()[-1]) == (1, "unconfirmed")
            watching = asyncio.create_task(watched(client, sent.message_id))

            tags = {t["Name"]: t["Value"] for t in json.loads(ses.received[0].body)["EmailTags"]}
            receipt = topic.notification(vendor.SES_DELIVERY | tagged(tags["relaypost_message_id"]))
            assert await post(receiver, receipt.replace(b"Delivery", b"Bounce")) == 403
            assert await post(receiver, receipt) == 200
            assert await post(receiver, receipt) == 200

            settled = await client.get_message(sent.message_id)
            assert (settled.state, settled.provider, settled.provider_message_id) == (
                DELIVERED,
                "ses",
                "0100018f-ses",
            )
            [event] = settled.events
            assert (event.type, event.provider) == (message_pb2.DELIVERY_EVENT_TYPE_DELIVERED, "ses")
            assert event.recipients == ["ada@example.com"]
            async with asyncio.timeout(20):
                assert await watching == [UNCONFIRMED, DELIVERED]
            code, out, _ = await run("watch", sent.message_id, "--target", receiver.grpc)
            assert code == 0
            assert "delivered  (ses delivered, Delivery, [number] OK)" in out
            again = await client.send_email(**fields, request_id="once")
            assert (again.message_id, again.state) == (sent.message_id, DELIVERED)
        assert len(ses.received) == 1


def page(topic: SnsTopic, base: str, request: Request) -> Reply:
    """The certificate, where it is asked for."""
    found = topic.pages.get(base + request.line.split()[1])
    return answer(404) if found is None else answer(200, found)


def tagged(message_id: str) -> dict[str, Any]:
    return {"mail": vendor.ses("Delivery", message_id=message_id)["mail"]}


async def watched(client: AsyncClient, message_id: str) -> list[int]:
    return [message.state async for message in client.watch_message(message_id, timeout=30)]
