"""A worker that dies between its claim and its first attempt, as those see it who watch the message."""

import asyncio
import json
from typing import Any

import asyncpg
from relaypost.v1 import message_pb2

from relaypost_server.store.sql import QUERIES
from tests.e2e.test_queue import EMAIL, NO_WORKER, SHORT_LEASE, working
from tests.e2e.test_webhooks import SETTINGS
from tests.fakes.http import FakeHttp, answer, fake_http
from tests.faults.world import World, world


async def claim_and_die(database: str, message_id: str) -> None:
    """What a worker leaves in the database that is killed right after its claim."""
    connection = await asyncpg.connect(database)
    claimed = await connection.fetch(QUERIES["claim_queued"], [message_id], 0.2)
    await connection.close()
    assert len(claimed) == 1


async def pointer_renewed(database: str, message_id: str) -> None:
    """Returns once the message is in nobody's hands."""
    connection = await asyncpg.connect(database)
    async with asyncio.timeout(30):
        while await connection.fetchval(
            "SELECT lease_until IS NOT NULL FROM relaypost.requests WHERE message_id = $1", message_id
        ):
            await asyncio.sleep(0.05)
    await connection.close()


async def watch(running: World, message_id: str) -> list[str]:
    """The states that a stream tells of, until it ends or the message is SENT."""
    seen = []
    async for message in running.client.watch_message(message_id):
        seen.append(message_pb2.MessageState.Name(message.state).removeprefix("MESSAGE_STATE_"))
        if seen[-1] == "SENT":
            break
    return seen


def told(hook: FakeHttp) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in hook.received]


async def test_a_message_is_never_reported_failed_after_its_worker_died(bundled_database: str) -> None:
    async with (
        fake_http(answer(200)) as hook,
        world(bundled_database, NO_WORKER, SETTINGS, SHORT_LEASE) as running,
    ):
        await running.client.create_webhook_endpoint(f"{hook.url}/hook")
        queued = await running.client.enqueue_email(**EMAIL)
        watching = asyncio.create_task(watch(running, queued.message_id))
        await claim_and_die(bundled_database, queued.message_id)
        await pointer_renewed(bundled_database, queued.message_id)
        async with working(running, bundled_database), asyncio.timeout(30):
            seen = await watching
            while "message.sent" not in (kinds := [event["type"] for event in told(hook)]):
                await asyncio.sleep(0.05)
        assert running.providers.counts == {"ses": 1}
    assert seen[0] == "QUEUED"
    assert seen[-1] == "SENT"
    assert set(seen) <= {"QUEUED", "SENDING", "SENT"}
    assert set(kinds) == {"message.queued", "message.sent"}
