"""A connection to RabbitMQ that is made when it is needed, and made anew when it was lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import cast

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, ChannelNotFoundEntity
from aiormq.abc import AbstractConnection as Underlying
from aiormq.channel import Channel

from relaypost_server.cancellation import is_cancelled
from relaypost_server.core.queue_ports import QueueUnavailableError

CONNECT_SECONDS = 5.0
CLOSE_SECONDS = 2.0
QUORUM = {"x-queue-type": "quorum"}
UNLIMITED = {"x-delivery-limit": -1}
"""RabbitMQ 4 drops what came back 20 times, unless it is told not to
(www.rabbitmq.com/docs/quorum-queues#poison-message-handling); RabbitMQ 3 has no limit, and refuses -1."""

log = structlog.get_logger("relaypost.queue")


class Link:
    """RabbitMQ with the given queues, which are made unless they exist."""

    def __init__(self, url: str, queues: Sequence[str], *, name: str, seconds: float = CONNECT_SECONDS) -> None:
        """`name` is what RabbitMQ's own lists show. `seconds`: for a connection to be made."""
        self._url = url
        self._queues = queues
        self._name = name
        self._seconds = seconds
        self._connection: AbstractConnection | None = None
        self._connecting = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def channel(self, *, publisher_confirms: bool) -> Channel:
        """A new channel of aiormq, which costs half of aio-pika's a message. Raises QueueUnavailableError."""
        async with reaching(self._seconds):
            connection = _underlying(await self._connected())
            channel = await connection.channel(
                publisher_confirms=publisher_confirms, on_return_raises=publisher_confirms
            )
            return cast(Channel, channel)

    def drop(self) -> None:
        """The connection is of no use any more."""
        if self._connection is not None:
            task = asyncio.create_task(_close(self._connection))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            self._connection = None

    async def close(self) -> None:
        self.drop()
        await asyncio.gather(*self._closing)

    async def _connected(self) -> AbstractConnection:
        async with self._connecting:
            if self._connection is not None and _open(self._connection):
                return self._connection
            self.drop()
            connection = await aio_pika.connect(self._url, client_properties={"connection_name": self._name})
            try:
                for queue in self._queues:
                    await _ensure(connection, queue)
            except BaseException:
                await _close(connection)
                raise
            self._connection = connection
            return connection


@contextlib.asynccontextmanager
async def reaching(seconds: float) -> AsyncIterator[None]:
    """Whatever fails within, or takes longer, raises QueueUnavailableError."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (*CONNECTION_EXCEPTIONS, TimeoutError) as error:
        raise QueueUnavailableError(type(error).__name__) from error
    except asyncio.CancelledError as error:  # aiormq cancels what waits on a channel that closes.
        if is_cancelled():
            raise
        raise QueueUnavailableError("closed") from error


def _open(connection: AbstractConnection) -> bool:
    return not connection.is_closed and connection.transport is not None and _underlying(connection).is_opened


def _underlying(connection: AbstractConnection) -> Underlying:
    if connection.transport is None:
        raise ConnectionError("lost")
    return connection.transport.connection


async def _ensure(connection: AbstractConnection, queue: str) -> None:
    """A queue that exists is used as it is: whoever made it may have had reasons for other arguments."""
    channel = await connection.channel()
    try:
        await channel.declare_queue(queue, passive=True)
    except ChannelNotFoundEntity:  # Which closes the channel.
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True, arguments={**QUORUM, **_limit(connection)})
        log.info("queue made", queue=queue)
    await channel.close()


def _limit(connection: AbstractConnection) -> dict[str, int]:
    properties = cast("dict[str, object]", getattr(_underlying(connection), "server_properties", {}))
    version = str(properties.get("version", ""))
    major = version.partition(".")[0]
    return UNLIMITED if major.isdecimal() and int(major) >= 4 else {}


async def _close(connection: AbstractConnection) -> None:
    with contextlib.suppress(*CONNECTION_EXCEPTIONS, TimeoutError):
        await asyncio.wait_for(connection.close(), CLOSE_SECONDS)
