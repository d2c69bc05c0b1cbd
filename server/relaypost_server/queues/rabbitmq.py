"""RabbitMQ: one durable quorum queue for each lane.

A pointer is durable when a majority of the queue's replicas has confirmed it.
Those who put and those who take have a connection each: RabbitMQ stops reading
from one that publishes while it is short of memory or disk
(www.rabbitmq.com/docs/connections#blocked), and acknowledgements must not wait.
"""

import asyncio
from collections.abc import Sequence

import structlog
from aiormq import spec
from aiormq.channel import Channel

from relaypost_server.core.background import Task
from relaypost_server.core.queue import Lane, Pointer
from relaypost_server.core.queue_ports import QueueUnavailableError, Taken
from relaypost_server.queues._rabbit_lane import LaneConsumer
from relaypost_server.queues._rabbit_link import CONNECT_SECONDS, Link, reaching
from relaypost_server.queues._urls import RabbitAddress

PUBLISH_SECONDS = 10.0
"""For all of a `put` to be confirmed."""
PERSISTENT = 2

log = structlog.get_logger("relaypost.queue")


class RabbitQueue:
    """A `core.queue_ports.Queue`."""

    def __init__(
        self, address: RabbitAddress, *, connect: float = CONNECT_SECONDS, publish: float = PUBLISH_SECONDS
    ) -> None:
        """`connect` and `publish`: seconds until RabbitMQ counts as unavailable."""
        self._names = {lane: f"{address.prefix}-{lane.value}" for lane in Lane}
        self._publish_seconds = publish
        queues = list(self._names.values())
        self._outgoing = Link(address.url, queues, name="relaypost: puts", seconds=connect)
        self._incoming = Link(address.url, queues, name="relaypost: takes", seconds=connect)
        self._lanes = {lane: LaneConsumer(self._incoming, name, lane) for lane, name in self._names.items()}
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()

    async def start(self) -> None:
        try:
            await self._publisher()
        except QueueUnavailableError as error:  # It is tried again with each question.
            log.warning("queue out of reach", error=str(error))

    def tasks(self) -> Sequence[Task]:
        return []  # The connection's own heartbeat holds the messages.

    async def put(self, pointers: Sequence[Pointer]) -> None:
        channel = await self._publisher()
        try:
            async with reaching(self._publish_seconds):
                await asyncio.gather(*(self._publish(channel, pointer) for pointer in pointers))
        except QueueUnavailableError:
            self._outgoing.drop()
            raise

    async def take(self, lane: Lane, *, most: int, wait: float) -> Sequence[Taken]:
        return await self._lanes[lane].take(most, wait)

    async def done(self, taken: Sequence[Taken]) -> None:
        for one in taken:
            await self._lanes[one.pointer.lane].done(one.handle)

    async def give_back(self, taken: Sequence[Taken]) -> None:
        for one in taken:
            await self._lanes[one.pointer.lane].give_back(one.handle)

    async def close(self) -> None:
        for lane in self._lanes.values():
            lane.close()
        await asyncio.gather(self._incoming.close(), self._outgoing.close())

    async def _publisher(self) -> Channel:
        """A channel whose messages are confirmed. Raises QueueUnavailableError."""
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                self._channel = await self._outgoing.channel(publisher_confirms=True)
            return self._channel

    async def _publish(self, channel: Channel, pointer: Pointer) -> None:
        """Returns when RabbitMQ has taken it over; a message that no queue would get comes back, and raises."""
        await channel.basic_publish(
            str(pointer).encode(),
            routing_key=self._names[pointer.lane],
            properties=spec.Basic.Properties(delivery_mode=PERSISTENT),
            mandatory=True,
            wait=False,
        )
