"""The three engines on real peers, each of which may be taken away."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import aio_pika
import asyncpg
import boto3
import pytest

from relaypost_server.core.queue import Lane
from relaypost_server.core.queue_ports import Queue
from relaypost_server.flow.background import BackgroundTasks
from relaypost_server.queues._urls import RabbitAddress, SqsAddress, parse
from relaypost_server.queues.postgres import STATEMENTS, PgQueue
from relaypost_server.queues.rabbitmq import RabbitQueue
from relaypost_server.queues.sqs import SqsQueue
from relaypost_server.store import migrations
from tests.databases import fresh_database, over_tcp, socket_of
from tests.fakes.proxy import Proxy, proxy

RABBIT = os.environ.get("RELAYPOST_TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/")
PATIENCE = 10.0
"""Seconds after which a peer counts as away."""


class Engine(Protocol):
    """An engine on queues of its own."""

    many: int
    """Pointers that it carries quickly enough for a test."""
    silence: float
    """Seconds after which a holder of which nothing was heard has lost its pointers."""

    async def holder(self, patience: float = PATIENCE) -> Queue:
        """Somebody who puts and takes, on a connection of its own, and waits for so long."""
        ...

    async def kill(self, queue: Queue) -> None:
        """As kill -9 does with the holder's process."""
        ...

    async def garbage(self, lane: Lane, text: str) -> None:
        """Puts something on the lane that is no pointer."""
        ...

    @property
    def ways(self) -> list[Proxy]:
        """What all holders go through."""
        ...


@dataclass
class Postgres:
    """The table of pointers."""

    url: str
    way: Proxy
    many: int = 5000
    silence: float = 1.5

    @property
    def ways(self) -> list[Proxy]:
        return [self.way]

    async def holder(self, patience: float = PATIENCE) -> Queue:
        queue = PgQueue(
            lambda: asyncpg.connect(over_tcp(self.url, self.way.port), timeout=patience),
            silence=self.silence,
            heartbeat=0.2,
            ask=patience,
        )
        return await begun(queue)

    async def kill(self, queue: Any) -> None:
        for heart in queue.hearts:
            await heart.stop()
        queue._connection.terminate()

    async def garbage(self, lane: Lane, text: str) -> None:
        connection = await asyncpg.connect(self.url)
        await connection.execute(STATEMENTS["store_pointers"], [lane.value], [text])
        await connection.close()


@dataclass
class Rabbit:
    """Quorum queues, each holder behind a proxy of its own."""

    address: RabbitAddress
    stack: AsyncExitStack
    ways: list[Proxy] = field(default_factory=list)
    many: int = 5000
    silence: float = 0.2
    holders: dict[int, Proxy] = field(default_factory=dict)

    async def holder(self, patience: float = PATIENCE) -> Queue:
        way = await self.stack.enter_async_context(proxy(urlsplit(self.address.url).port or 5672))
        if self.ways and not self.ways[0].up:
            way.cut()
        self.ways.append(way)
        queue = RabbitQueue(self._through(way), connect=patience, publish=patience)
        self.holders[id(queue)] = way
        await queue.start()
        return queue

    async def kill(self, queue: Queue) -> None:
        self.holders[id(queue)].cut()

    async def garbage(self, lane: Lane, text: str) -> None:
        async with await aio_pika.connect(self.address.url) as connection:
            channel = await connection.channel()
            message = aio_pika.Message(text.encode())
            await channel.default_exchange.publish(message, f"{self.address.prefix}-{lane.value}", mandatory=True)

    def _through(self, way: Proxy) -> RabbitAddress:
        parts = urlsplit(self.address.url)
        place = f"{parts.username}:{parts.password}@127.0.0.1:{way.port}"
        return RabbitAddress(url=parts._replace(netloc=place).geturl(), prefix=self.address.prefix)


@dataclass
class Sqs:
    """moto, which looks at every message of a queue for each one that is deleted: it carries few."""

    address: SqsAddress
    way: Proxy
    endpoint: str
    many: int = 100
    silence: float = 2.0

    @property
    def ways(self) -> list[Proxy]:
        return [self.way]

    async def holder(self, patience: float = PATIENCE) -> Queue:
        endpoint = f"http://127.0.0.1:{self.way.port}"
        queue = SqsQueue(self.address, endpoint=endpoint, visibility=int(self.silence), heartbeat=0.3, call=patience)
        return await begun(queue)

    async def kill(self, queue: Any) -> None:
        for heart in queue.hearts:
            await heart.stop()

    async def garbage(self, lane: Lane, text: str) -> None:
        await asyncio.to_thread(self._send, f"{self.address.prefix}-{lane.value}", text)

    def _send(self, name: str, text: str) -> None:
        client = boto3.client("sqs", region_name=self.address.region, endpoint_url=self.endpoint)
        client.send_message(QueueUrl=client.get_queue_url(QueueName=name)["QueueUrl"], MessageBody=text)


async def begun(queue: Any) -> Queue:
    """Started, with its background tasks, which are stopped before it is closed."""
    await queue.start()
    registry = BackgroundTasks()
    hearts, close = [registry.start(task) for task in queue.tasks()], queue.close

    async def closed() -> None:
        for heart in hearts:
            await heart.stop()
        await close()

    queue.hearts, queue.close = hearts, closed
    return cast(Queue, queue)


def rabbit_url() -> str:
    """The URL of a RabbitMQ that answers, or a skip."""

    async def look() -> None:
        await (await aio_pika.connect(RABBIT, timeout=2)).close()

    try:
        asyncio.run(look())
    except (OSError, TimeoutError, aio_pika.exceptions.AMQPError):
        pytest.skip("no RabbitMQ answers; RELAYPOST_TEST_RABBITMQ_URL may name one")
    return RABBIT


def own_prefix(url: str) -> str:
    """The URL with a prefix that nobody else uses."""
    return f"{url}?prefix=test-{uuid.uuid4().hex}"


async def delete_queues(url: str) -> None:
    address = parse(url)
    assert isinstance(address, RabbitAddress)
    async with await aio_pika.connect(address.url) as connection:
        channel = await connection.channel()
        for lane in Lane:
            await channel.queue_delete(f"{address.prefix}-{lane.value}")


@asynccontextmanager
async def postgres(server: str) -> AsyncIterator[Postgres]:
    async with fresh_database(server) as url, proxy(socket_of(url)) as way:
        connection = await asyncpg.connect(url)
        await migrations.migrate(connection)
        await connection.close()
        yield Postgres(url, way)


@asynccontextmanager
async def rabbit(server: str) -> AsyncIterator[Rabbit]:
    url = own_prefix(server)
    address = parse(url)
    assert isinstance(address, RabbitAddress)
    async with AsyncExitStack() as stack:
        yield Rabbit(address, stack)
    await delete_queues(url)


@asynccontextmanager
async def sqs(endpoint: str) -> AsyncIterator[Sqs]:
    address = SqsAddress(region="us-east-1", prefix=f"test-{uuid.uuid4().hex}")
    async with proxy(urlsplit(endpoint).port or 80) as way:
        yield Sqs(address, way, endpoint)


OPEN: dict[str, Callable[[str], AbstractAsyncContextManager[Engine]]] = {
    "postgres": postgres,
    "rabbitmq": rabbit,
    "sqs": sqs,
}
"""By name, what opens an engine on its server."""
