"""SIGTERM while every provider hangs: nothing new is submitted, and every call is told what may have been sent."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc
import pytest
from relaypost import AsyncClient, RelaypostError
from relaypost.v1 import message_pb2, queue_service_pb2 as queue_pb

from tests.fakes.http import HANG, Reply, Request
from tests.faults.database import read_log
from tests.faults.providers import OVER_HTTP
from tests.faults.world import World, every, until, world

HANDS = 8
QUEUED = 100
PATIENT = every("TIMEOUT_SECONDS", "30")
"""No attempt ends by itself."""
UNPACED = every("RATE", "0")
SHORT = {"RELAYPOST_SHUTDOWN_DELAY_SECONDS": "1", "RELAYPOST_SHUTDOWN_GRACE_SECONDS": "4"}
LONGEST_ANSWER = 30.0
UNCONFIRMED = message_pb2.MESSAGE_STATE_UNCONFIRMED


def hands(count: int) -> dict[str, str]:
    return {f"RELAYPOST_QUEUE_{lane}_HANDS": str(count) for lane in ("OTP", "TRANSACTIONAL", "BULK")}


@dataclass
class Arrivals:
    """When each provider got each message whole."""

    times: list[float]

    def after(self, moment: float) -> int:
        return sum(time > moment for time in self.times)


@asynccontextmanager
async def hanging(database: str, *environ: dict[str, str]) -> AsyncIterator[tuple[World, Arrivals]]:
    """A gateway all of whose providers take everything and say nothing."""
    async with world(database, PATIENT, UNPACED, *environ) as running:
        arrivals = Arrivals([])

        def note(_: Request) -> Reply:
            arrivals.times.append(asyncio.get_running_loop().time())
            return HANG

        for name in OVER_HTTP:
            running.providers.over_http(name).reply = note
        yield running, arrivals


async def enqueue(running: World, count: int, **changes: Any) -> list[message_pb2.Message]:
    fields = {"to": "ada@example.com", "subject": "Your order", "text": "It is on its way"} | changes
    queued: list[message_pb2.Message] = []
    while len(queued) < count:  # No more at once than the line of calls holds.
        some = min(100, count - len(queued))
        queued += await asyncio.gather(*(running.client.enqueue_email(**fields) for _ in range(some)))
    return queued


async def states(database: str) -> Counter[tuple[str, tuple[tuple[str, str], ...]]]:
    return Counter((entry.state, entry.attempts) for entry in await read_log(database))


async def stopped(running: World) -> tuple[int, float, float]:
    """The exit code, the moment of SIGTERM, and how many seconds the end took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    code = await running.gateway.stop()
    return code, began, loop.time() - began


async def test_workers_claim_nothing_more_once_the_shutdown_begins(bundled_database: str) -> None:
    """A direct send that hangs uses up the whole grace; the queue stays as it was all the time."""
    async with hanging(bundled_database, SHORT, hands(HANDS), every("TIMEOUT_SECONDS", "2")) as (running, arrivals):
        queued = await enqueue(running, QUEUED)
        direct = asyncio.create_task(running.client.send_sms(to="+14155550123", text="Hi", timeout=LONGEST_ANSWER))
        await until(lambda: running.providers.received("ses") >= HANDS and running.providers.received("sns") == 1)
        code, began, took = await stopped(running)
        await asyncio.gather(direct, return_exceptions=True)
    assert (code, took < 10.0) == (0, True)
    claimed = Counter(entry.state for entry in await read_log(bundled_database) if entry.attempts)
    assert len(queued) == QUEUED
    assert arrivals.after(began + 1.0) == running.providers.received("twilio")
    assert claimed["sending"] == 0


@pytest.mark.long
async def test_with_default_settings_and_a_full_queue_it_ends_within_30_seconds(bundled_database: str) -> None:
    """The acceptance: every provider hangs, calls are in flight, and no setting of the shutdown is changed."""
    defaults = {"RELAYPOST_SHUTDOWN_DELAY_SECONDS": "3", "RELAYPOST_SHUTDOWN_GRACE_SECONDS": "25"}
    async with hanging(bundled_database, defaults) as (running, arrivals):
        await enqueue(running, 300)
        await until(lambda: running.providers.received("ses") >= 32)
        sending = [
            asyncio.create_task(running.sms(token=f"t{n}", at_most_once=True, timeout=LONGEST_ANSWER))
            for n in range(20)
        ]
        await until(lambda: running.providers.received("sns") == 20)
        code, began, took = await stopped(running)
        answers = await asyncio.gather(*sending)
    assert (code, took < 30.0) == (0, True)
    assert arrivals.after(began + 0.5) == 0
    assert [a.state for a in answers] == [UNCONFIRMED] * 20
    assert Counter(entry.state for entry in await read_log(bundled_database))["sending"] == 0


@pytest.mark.parametrize("command", ["serve", "work"])
async def test_a_workers_attempt_that_is_cut_off_goes_to_no_other_provider(command: str, bundled_database: str) -> None:
    """Its message waits in the queue for another worker, or is unconfirmed where it may be sent only once."""
    from tests.e2e.gateway import gateway

    alone = {"RELAYPOST_QUEUE_WORK_IN_SERVE": "true" if command == "serve" else "false"}
    async with hanging(bundled_database, SHORT, alone) as (running, arrivals):
        if command == "work":
            async with gateway(running.environ, database=bundled_database, command="work") as worker:
                running.gateway, serving = worker, running.gateway
                await in_two_guarantees(running)
                code, _, took = await stopped(running)
                running.gateway = serving
        else:
            await in_two_guarantees(running)
            code, _, took = await stopped(running)
        counts = running.providers.counts
    assert (code, counts, took < 8.0) == (0, {"ses": 2}, True)
    assert len(arrivals.times) == 2
    kept = {entry.state: entry.attempts for entry in await read_log(bundled_database)}
    assert kept["unconfirmed"] == (("ses", "unconfirmed"),)
    assert kept["queued"][0] == ("ses", "unconfirmed")
    assert {kind for _, kind in kept["queued"][1:]} <= {"skipped"}


async def in_two_guarantees(running: World) -> None:
    await enqueue(running, 1)
    await enqueue(running, 1, at_most_once=True)
    await until(lambda: running.providers.received("ses") == 2)


async def test_calls_in_flight_at_the_end_of_the_grace_are_told_that_they_may_have_been_sent(
    bundled_database: str,
) -> None:
    """200 of them, keyed and not, of both guarantees: OK and UNCONFIRMED, and one provider asked for each."""
    count = 200
    async with hanging(bundled_database, SHORT, every("POOL_SIZE", str(count))) as (running, _):
        sending = [
            asyncio.create_task(
                running.client.send_email(
                    to="ada@example.com",
                    subject=f"Number {n}",
                    text="Hi",
                    request_id=f"request-{n}" if n % 2 else "",
                    at_most_once=n % 4 < 2,
                    timeout=LONGEST_ANSWER,
                )
            )
            for n in range(count)
        ]
        await until(lambda: running.providers.received("ses") == count)
        code, _, took = await stopped(running)
        answers = await asyncio.gather(*sending, return_exceptions=True)
        counts = running.providers.counts
    assert (code, took < 10.0) == (0, True)
    told = Counter(a.state if isinstance(a, message_pb2.Message) else repr(a) for a in answers)
    assert told == {UNCONFIRMED: count}
    assert set(counts) == {"ses"}
    assert Counter(entry.state for entry in await read_log(bundled_database)) == {"unconfirmed": count}


async def test_streams_end_with_a_status_that_says_so(bundled_database: str) -> None:
    async with hanging(bundled_database, SHORT) as (running, _):
        (message,) = await enqueue(running, 1)
        await until(lambda: running.providers.received("ses") == 1)
        watching = asyncio.create_task(_watched(running.client, message.message_id))
        bulk = running.client.queue.SendBulk(_endless())
        code, _, _ = await stopped(running)
        ends = await watching, await _ended(bulk)
    assert code == 0
    for end in ends:
        assert (end.code, end.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        assert end.retry_after is not None


async def test_a_call_that_waits_for_the_database_ends_with_a_status_that_says_so(bundled_database: str) -> None:
    async with hanging(bundled_database, SHORT) as (running, _):
        holder = await asyncpg.connect(bundled_database)
        async with holder.transaction():
            await holder.execute("LOCK TABLE relaypost.queue")
            sending = asyncio.create_task(enqueue(running, 1))
            await until_locked(holder)
            code, _, _ = await stopped(running)
            (ended,) = await asyncio.gather(sending, return_exceptions=True)
        await holder.close()
    assert code == 0
    assert isinstance(ended, RelaypostError)
    assert (ended.code, ended.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")


async def until_locked(connection: "asyncpg.Connection") -> None:
    """Waits until another connection waits for a lock."""
    async with asyncio.timeout(10):
        while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.02)


async def _watched(client: AsyncClient, message_id: str) -> RelaypostError:
    """How the watch of a message that does not change ended."""
    try:
        async for _ in client.watch_message(message_id):
            pass
    except RelaypostError as error:
        return error
    raise AssertionError("the stream ended well")


async def _endless() -> AsyncIterator[queue_pb.SendBulkRequest]:
    header = queue_pb.SendBulkRequest()
    header.header.request_id = "news"
    yield header
    await asyncio.Event().wait()


async def _ended(call: Any) -> RelaypostError:
    from relaypost.errors import from_rpc_error

    try:
        await call
    except grpc.RpcError as error:
        return from_rpc_error(error)
    raise AssertionError("the stream ended well")
