"""A database that is read-only for a while, as during a failover, and a URL that asks for one that is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import grpc
from relaypost.v1 import gateway_health_pb2, queue_service_pb2 as pb, queue_service_pb2_grpc as stubs

from tests.faults.world import World, until, world

FAILURES = 12
"""So often the database is out of reach: every background task has tried it by then."""
LANES = (pb.LANE_OTP, pb.LANE_TRANSACTIONAL, pb.LANE_BULK)


@asynccontextmanager
async def read_only(url: str) -> AsyncIterator[None]:
    """Every connection to the database is ended, and new ones can only read."""
    name = urlsplit(url).path.removeprefix("/")
    admin = await asyncpg.connect(urlsplit(url)._replace(path="/postgres").geturl())
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
    try:
        await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await admin.execute(end, name)
        yield
        await admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await admin.execute(end, name)
    finally:
        await admin.close()


def out_of_reach(running: World) -> int:
    return sum(
        e["error"] == "TargetServerAttributeNotMatched" for e in running.gateway.events("database cannot be used")
    )


async def metric(running: World, name: str) -> float:
    _, text = await running.gateway.get("/metrics")
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


async def test_everything_is_at_work_again_once_a_server_can_be_written(bundled_database: str) -> None:
    url = f"{bundled_database}&target_session_attrs=read-write"
    async with world(url) as running:
        async with read_only(bundled_database):
            await until(lambda: out_of_reach(running) >= FAILURES, 60.0)
            unkeyed = await running.email()
        async with asyncio.timeout(60):
            while (await running.client.provider_health()).message_log.available is False:
                await asyncio.sleep(0.05)
        await all_lanes_send(running)
        assert (await running.email(request_id="after")).message_id
        async with asyncio.timeout(30):
            while await metric(running, "relaypost_suppressions_age_seconds") > 5.0:
                await asyncio.sleep(0.05)
            while (await running.client.gateway_health()).state != gateway_health_pb2.GATEWAY_STATE_READY:
                await asyncio.sleep(0.05)
            assert (await running.client.get_message(unkeyed.message_id)).message_id
        found = await running.client.gateway_health()
        assert [t.name for t in found.background_tasks if t.consecutive_failures] == []
        assert running.gateway.events("background task failed") == []


async def all_lanes_send(running: World) -> None:
    before = running.providers.received("ses")
    async with grpc.aio.insecure_channel(running.gateway.grpc) as channel:
        stub = stubs.QueueServiceStub(channel)
        for lane in LANES:
            request = pb.EnqueueEmailRequest()
            request.email.to.add(address="ada@example.com")
            request.email.subject, request.email.text = "Hello", "Good news"
            request.schedule.lane = lane
            await stub.EnqueueEmail(request, wait_for_ready=True, timeout=30)
    await until(lambda: running.providers.received("ses") >= before + len(LANES), 30.0)
