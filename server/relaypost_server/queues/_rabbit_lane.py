"""One lane in RabbitMQ, seen by those who take from it."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from aiormq.abc import ConsumerCallback, DeliveredMessage
from aiormq.channel import Channel

from relaypost_server.core.queue import Lane
from relaypost_server.core.queue_ports import QueueUnavailableError, Taken
from relaypost_server.queues import _pointers
from relaypost_server.queues._rabbit_link import Link, reaching

ANSWER_SECONDS = 5.0
"""For RabbitMQ to say that it understood, or for an acknowledgement to be written."""
IDLE_SECONDS = 1.0
"""When nobody has taken for so long, what RabbitMQ has already delivered goes to others."""
MOST = 65_535
"""Of what AMQP can count as delivered and not acknowledged."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What RabbitMQ needs to hear about a message; only the channel that brought it can tell."""

    channel: Channel
    tag: int
    body: bytes
    turn: int
    """Of the consumer that got it."""


class LaneConsumer:
    """Lets RabbitMQ deliver while somebody takes, and never more than was asked for.

    A consumer's limit cannot be raised: where more is wanted, another one takes its place.
    """

    def __init__(self, link: Link, queue: str, lane: Lane) -> None:
        self._link = link
        self._queue = queue
        self._lane = lane
        self._channel: Channel | None = None
        self._consumer: str | None = None
        self._turn = 0
        self._limit = 0
        self._in_hand = 0
        """Taken from the present consumer, and not answered."""
        self._delivered: deque[Delivery] = deque()
        self._news = asyncio.Event()
        self._changing = asyncio.Lock()
        self._takers = 0
        self._idle: asyncio.TimerHandle | None = None
        self._pausing: asyncio.Task[None] | None = None

    async def take(self, most: int, wait: float) -> Sequence[Taken]:
        """Raises QueueUnavailableError."""
        loop = asyncio.get_running_loop()
        end = loop.time() + wait
        self._takers += 1
        try:
            while True:
                await self._consume(min(most, MOST))
                taken = await self._grab(most)
                left = end - loop.time()
                if taken or left <= 0:
                    return taken
                self._news.clear()
                if not self._delivered:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._news.wait(), left)
        finally:
            self._takers -= 1
            self._watch_for_idleness(loop)

    async def done(self, delivery: Delivery) -> None:
        self._answered(delivery)
        await _tell(delivery.channel.basic_ack(delivery.tag, wait=False))

    async def give_back(self, delivery: Delivery) -> None:
        self._answered(delivery)
        await _tell(delivery.channel.basic_nack(delivery.tag, requeue=True, wait=False))

    def close(self) -> None:
        """Its connection is about to be closed, which gives back what was not answered."""
        if self._idle is not None:
            self._idle.cancel()
        if self._pausing is not None:
            self._pausing.cancel()

    def _answered(self, delivery: Delivery) -> None:
        if delivery.turn == self._turn:
            self._in_hand -= 1

    async def _grab(self, most: int) -> Sequence[Taken]:
        """What has been delivered; what cannot be read is thrown away."""
        taken: list[Taken] = []
        while self._delivered and len(taken) < most:
            delivery = self._delivered.popleft()
            if delivery.turn == self._turn:
                self._in_hand += 1
            pointer = _pointers.read(delivery.body, self._lane)
            if pointer is None:
                await self.done(delivery)
            else:
                taken.append(Taken(pointer, delivery))
        return taken

    async def _consume(self, most: int) -> None:
        """Makes sure that as many are delivered. Raises QueueUnavailableError."""
        async with self._changing:
            channel = await self._open()
            if self._consumer is not None and self._in_hand + most <= self._limit:
                return
            async with reaching(ANSWER_SECONDS):
                await self._cancel(channel)
                self._limit = most
                await channel.basic_qos(prefetch_count=most)
                answer = await channel.basic_consume(self._queue, self._receiver(channel, self._turn))
                self._consumer = answer.consumer_tag

    async def _open(self) -> Channel:
        if self._channel is not None and not self._channel.is_closed:
            return self._channel
        self._consumer = None  # Its deliveries come again.
        self._delivered.clear()
        self._channel = await self._link.channel(publisher_confirms=False)
        self._channel.closing.add_done_callback(lambda _: self._news.set())
        self._channel.on_consumer_cancel_callbacks.add(self._on_cancel)
        return self._channel

    def _receiver(self, channel: Channel, turn: int) -> ConsumerCallback:
        async def receive(message: DeliveredMessage) -> None:
            tag = message.delivery_tag
            if tag is not None:
                self._delivered.append(Delivery(channel, tag, message.body, turn))
                self._news.set()

        return receive

    def _on_cancel(self, _: object) -> None:
        """The queue was deleted. The next connection makes it anew."""
        self._channel = None
        self._link.drop()
        self._news.set()

    async def _cancel(self, channel: Channel) -> None:
        """Ends the present consumer's turn."""
        self._turn += 1
        self._in_hand = 0
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await channel.basic_cancel(consumer)

    def _watch_for_idleness(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if not self._takers:
            self._idle = loop.call_later(IDLE_SECONDS, self._start_pausing)

    def _start_pausing(self) -> None:
        self._pausing = asyncio.create_task(self._pause())

    async def _pause(self) -> None:
        async with self._changing:
            if self._takers or self._channel is None or self._channel.is_closed:
                return
            with contextlib.suppress(QueueUnavailableError):
                async with reaching(ANSWER_SECONDS):
                    await self._cancel(self._channel)
                while self._delivered:
                    await self.give_back(self._delivered.popleft())


async def _tell(answer: Coroutine[Any, Any, None]) -> None:
    """A delivery whose channel is gone comes again, which needs no word from here."""
    with contextlib.suppress(QueueUnavailableError):
        async with reaching(ANSWER_SECONDS):
            await answer
