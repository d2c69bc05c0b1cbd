"""A database or a collector that is away, slow or hangs: rows 17 and 18 of the fault matrix."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from relaypost import RelaypostError
from relaypost.v1 import message_pb2, messaging_service_pb2 as pb

from tests.databases import over_tcp, socket_of
from tests.fakes.http import HANG, answer, fake_http
from tests.fakes.proxy import Proxy, proxy
from tests.fakes.server import listening
from tests.faults.database import read_log
from tests.faults.world import World, world

MIB = 1024 * 1024
BACK_SECONDS = 5.0
"""How soon after the database every row has to be in it."""
SENT = message_pb2.MESSAGE_STATE_SENT


@asynccontextmanager
async def between(database: str, *, up: bool = True) -> AsyncIterator[tuple[World, Proxy]]:
    """A gateway that comes to its database through a proxy."""
    async with proxy(socket_of(database)) as way:
        if not up:
            way.cut()
        async with world(over_tcp(database, way.port)) as running:
            yield running, way
            way.mend()
            way.release()


async def send(running: World, count: int) -> list[str]:
    """The ids of so many messages, each answered quickly."""
    loop, ids = asyncio.get_running_loop(), []
    for _ in range(count):
        began = loop.time()
        message = await running.email()
        assert message.state == SENT
        assert loop.time() - began < 3.0  # Well below any time-out of the database.
        ids.append(message.message_id)
    return ids


async def all_logged(running: World, database: str, ids: list[str]) -> None:
    """Exactly once each, in time."""
    async with asyncio.timeout(BACK_SECONDS):
        while not (await running.client.provider_health()).message_log.available:
            await asyncio.sleep(0.05)
        while len(found := await read_log(database)) < len(ids):
            await asyncio.sleep(0.1)
    assert sorted(entry.message_id for entry in found) == sorted(ids)
    assert all(entry.attempts == (("ses", "accepted"),) for entry in found)


async def test_a_database_that_is_down_at_the_start_gets_its_rows_when_it_comes(bundled_database: str) -> None:
    """Row 17."""
    async with between(bundled_database, up=False) as (running, way):
        ids = await send(running, 20)
        health = (await running.client.provider_health()).message_log
        assert not health.available
        way.mend()
        await all_logged(running, bundled_database, ids)


def cut_and_mend(way: Proxy) -> tuple[Callable[[], None], Callable[[], None]]:
    return way.cut, way.mend


def hold_and_release(way: Proxy) -> tuple[Callable[[], None], Callable[[], None]]:
    return way.hold, way.release


@pytest.mark.parametrize("trouble", [cut_and_mend, hold_and_release])
async def test_a_database_that_is_lost_or_slow_costs_no_send_and_no_row(
    trouble: Callable[[Proxy], tuple[Callable[[], None], Callable[[], None]]], bundled_database: str
) -> None:
    """Row 17: cut off under load, and 5 s without an answer."""
    async with between(bundled_database) as (running, way):
        begin, end = trouble(way)
        sending = asyncio.create_task(send(running, 100))
        await asyncio.sleep(0.1)
        begin()
        ids = await sending + await send(running, 50)
        await asyncio.sleep(5.0 if trouble is hold_and_release else 0.0)
        end()
        await all_logged(running, bundled_database, ids)


async def test_readers_who_wait_for_the_database_hold_up_no_send(bundled_database: str) -> None:
    """Row 17: every connection of the readers' pool is taken."""
    async with between(bundled_database) as (running, way):
        ids = await send(running, 1)
        way.hold()
        reading = [asyncio.create_task(running.client.get_message(ids[0], timeout=3.0)) for _ in range(30)]
        ids += await send(running, 20)
        way.release()
        for found in await asyncio.gather(*reading, return_exceptions=True):
            assert isinstance(found, RelaypostError | message_pb2.Message)
        await all_logged(running, bundled_database, ids)


async def test_a_reader_is_told_that_the_log_is_away(bundled_database: str) -> None:
    """Row 17: UNAVAILABLE, with a time to try again."""
    async with between(bundled_database) as (running, way):
        ids = await send(running, 1)
        way.cut()
        with pytest.raises(RelaypostError) as caught:
            await running.client.get_message(ids[0])
        assert (caught.value.code.name, caught.value.reason) == ("UNAVAILABLE", "MESSAGE_LOG_UNAVAILABLE")
        assert caught.value.retry_after


async def test_a_collector_that_hangs_holds_up_nothing(bundled_database: str) -> None:
    """Row 18: over HTTP; messages go out, the queue of spans is bounded, the gateway ends in time."""
    async with fake_http(HANG) as collector:
        environ = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        await _undisturbed_by(environ, bundled_database)
        assert collector.received


async def test_a_collector_that_accepts_and_says_nothing_holds_up_nothing(bundled_database: str) -> None:
    """Row 18: over gRPC, which does not get beyond its handshake."""

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    async with listening(silence, limit=65536) as port:
        await _undisturbed_by({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}, bundled_database)


async def _undisturbed_by(environ: dict[str, str], database: str) -> None:
    """The first 1,000 messages make 2,000 spans, about as many as may wait; the others find no room."""
    loop = asyncio.get_running_loop()
    environ |= {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    async with world(database, environ) as running:
        for _ in range(20):
            await asyncio.gather(*(running.email() for _ in range(50)))
        before = running.memory()
        for _ in range(30):
            sent = await asyncio.gather(*(running.email() for _ in range(50)))
            assert all(m.state == SENT for m in sent)
        assert running.memory() - before < 16 * MIB
        began = loop.time()
        assert await running.gateway.stop() == 0
        assert loop.time() - began < 10.0


async def test_a_page_of_the_log_is_read_while_messages_are_sent(bundled_database: str) -> None:
    """Row 17, the other way round: with the database well, readers and writers do not meet."""
    async with world(bundled_database) as running:
        every = pb.ListMessagesRequest(page_size=500)
        sent = await asyncio.gather(*(running.email() for _ in range(100)))
        async with asyncio.timeout(BACK_SECONDS):
            while len((page := await running.client.stub.ListMessages(every)).messages) < len(sent):
                await asyncio.sleep(0.05)
        assert {m.message_id for m in page.messages} == {m.message_id for m in sent}


async def test_an_answer_of_the_collector_that_refuses_is_no_error_of_ours(bundled_database: str) -> None:
    """Row 18: 503 for every batch."""
    async with fake_http(answer(503)) as collector:
        environ = {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        }
        async with world(bundled_database, environ) as running:
            assert (await running.email()).state == SENT
            assert await running.gateway.stop() == 0
