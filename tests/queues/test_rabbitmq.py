"""What RabbitMQ's engine alone does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest
from aio_pika.exceptions import ChannelPreconditionFailed

from relaypost_server.core.queue import Lane
from relaypost_server.core.queue_ports import QueueUnavailableError
from relaypost_server.queues import _rabbit_lane
from tests.queues.engines import Rabbit, rabbit
from tests.queues.test_engines import carried, empty, holder, persistently_put, pointers, take


@pytest.fixture
async def engine(rabbit_server: str) -> AsyncIterator[Rabbit]:
    async with rabbit(rabbit_server) as opened:
        yield opened


@asynccontextmanager
async def channel(engine: Rabbit) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    async with await aio_pika.connect(engine.address.url) as connection:
        yield await connection.channel()


def name(engine: Rabbit, lane: Lane) -> str:
    return f"{engine.address.prefix}-{lane.value}"


async def test_its_queues_are_durable_quorum_queues_and_its_messages_persistent(engine: Rabbit) -> None:
    async with holder(engine) as queue, channel(engine) as theirs:
        for lane in Lane:
            await queue.put(pointers(1, lane))
            arguments: dict[str, Any] = {"x-queue-type": "quorum"}
            found = await theirs.declare_queue(name(engine, lane), durable=True, arguments=arguments)
            message = await found.get()
            assert message is not None
            assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    async with channel(engine) as theirs:
        with pytest.raises(ChannelPreconditionFailed):
            await theirs.declare_queue(name(engine, Lane.OTP), durable=True, arguments={"x-queue-type": "classic"})


async def test_a_queue_that_somebody_else_made_is_used_as_it_is(engine: Rabbit) -> None:
    async with channel(engine) as theirs:
        arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": 7}
        await theirs.declare_queue(name(engine, Lane.BULK), durable=True, arguments=arguments)
    async with holder(engine) as queue:
        await queue.put(pointers(1))
        assert await take(queue, 1)


async def test_a_pointer_that_no_queue_would_get_is_not_taken_on(engine: Rabbit) -> None:
    async with holder(engine) as queue:
        waiting = asyncio.create_task(queue.take(Lane.BULK, most=1, wait=10))
        await asyncio.sleep(0.2)
        async with channel(engine) as theirs:
            await theirs.queue_delete(name(engine, Lane.BULK))
        given = pointers(1)
        with pytest.raises(QueueUnavailableError):
            await queue.put(given)
        await persistently_put(queue, given)
        assert carried(await waiting or await take(queue, 1)) == given


async def test_what_was_taken_over_a_connection_that_is_gone_may_be_done_and_comes_again(engine: Rabbit) -> None:
    given = pointers(2)
    async with holder(engine) as queue:
        await queue.put(given)
        held = await take(queue, 2)
        engine.ways[0].cut()
        await queue.done(held[:1])
        await queue.give_back(held[1:])
        engine.ways[0].mend()
        again = await take(queue, 2)
        assert set(carried(again)) == set(given)
        await queue.done(held)
        await queue.done(again)
        assert await empty(queue)


async def test_who_stops_taking_keeps_nothing_from_others(engine: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rabbit_lane, "IDLE_SECONDS", 0.2)
    given = pointers(4)
    async with holder(engine) as idle, holder(engine) as other:
        assert await empty(idle)
        await other.put(given)
        await asyncio.sleep(0.2)
        assert set(carried(await take(other, 4))) == set(given)
        assert await empty(idle)


async def test_no_more_are_fetched_than_hands_are_free(engine: Rabbit) -> None:
    async with holder(engine) as queue, holder(engine) as other:
        await queue.put(pointers(20))
        held = await take(queue, 5)
        held += await queue.take(Lane.BULK, most=3, wait=1)
        fetched: Any = queue
        assert len(held) + len(fetched._lanes[Lane.BULK]._delivered) <= 8
        assert len(await take(other, 12)) == 12


async def test_a_broken_network_leaves_no_task_and_no_connection_behind(engine: Rabbit) -> None:
    before = len(asyncio.all_tasks())
    async with holder(engine) as queue:
        for _ in range(3):
            await persistently_put(queue, pointers(1))
            assert await take(queue, 1)
            engine.ways[0].cut()
            with pytest.raises(QueueUnavailableError):
                await queue.put(pointers(1))
            engine.ways[0].mend()
        await persistently_put(queue, pointers(1))
        assert len(engine.ways[0].connections) <= 4
    async with asyncio.timeout(10):
        while len(asyncio.all_tasks()) > before + 1:
            await asyncio.sleep(0.02)
