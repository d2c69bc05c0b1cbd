"""A gateway process whose queue each engine carries: what is queued is sent, once."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import grpc
import pytest
from relaypost.v1 import queue_service_pb2 as pb, queue_service_pb2_grpc as stubs

from tests.faults.world import World, until, world
from tests.queues.engines import delete_queues, own_prefix

COUNT = 30
LANES = (pb.LANE_OTP, pb.LANE_TRANSACTIONAL, pb.LANE_BULK)


@pytest.fixture
def settings(peer: tuple[str, str]) -> dict[str, str]:
    """Those that name the engine."""
    name, url = peer
    match name:
        case "rabbitmq":
            return {"RELAYPOST_QUEUE_URL": own_prefix(url)}
        case "sqs":
            return {"RELAYPOST_QUEUE_URL": "sqs://us-east-1/mail", "RELAYPOST_QUEUE_ENDPOINT": url}
        case _:
            return {}


@pytest.fixture
async def running(bundled_database: str, settings: dict[str, str]) -> AsyncIterator[World]:
    async with world(bundled_database, settings) as opened:
        yield opened
    if urlsplit(settings.get("RELAYPOST_QUEUE_URL", "")).scheme == "amqp":
        await delete_queues(settings["RELAYPOST_QUEUE_URL"])


async def test_what_is_queued_is_sent_once(running: World) -> None:
    async with grpc.aio.insecure_channel(running.gateway.grpc) as channel:
        stub = stubs.QueueServiceStub(channel)
        accepted = await asyncio.gather(*(stub.EnqueueEmail(request(number)) for number in range(COUNT)))
    await until(lambda: running.providers.received("ses") >= COUNT, 120.0)
    await asyncio.sleep(0.2)
    sent = [s.message_id for s in running.providers.submissions()]
    assert sorted(sent) == sorted(answer.message.message_id for answer in accepted)
    assert await running.gateway.stop() == 0
    assert not [line for line in running.gateway.logged if line["level"] in ("warning", "error")]


def request(number: int) -> pb.EnqueueEmailRequest:
    made = pb.EnqueueEmailRequest()
    made.email.to.add(address="ada@example.com")
    made.email.subject = f"Number {number}"
    made.email.text = "Good news"
    made.schedule.lane = LANES[number % len(LANES)]
    return made
