"""Sends one message: gives it an id, walks its chain, keeps the record."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic

import structlog

from relaypost_server.core.failover import Delivery, Verdict
from relaypost_server.core.ids import uuid7
from relaypost_server.core.message import Content, Guarantee, Message, MessageState
from relaypost_server.core.outcome import Kind
from relaypost_server.core.ports import MessageLog
from relaypost_server.core.record import MessageRecord, record_of
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.dispatch import Caller, Dispatcher, Limits
from relaypost_server.telemetry.metrics import Metrics

log = structlog.get_logger("relaypost.send")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The record of a message whose walk has ended, and the verdict on it."""

    record: MessageRecord
    verdict: Verdict


class Sender(Generic[Content]):
    """Sends the messages of one channel."""

    def __init__(
        self,
        dispatcher: Dispatcher[Content],
        message_log: MessageLog,
        *,
        limits: Limits,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._dispatcher: Dispatcher[Content] = dispatcher
        self._log = message_log
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._running: dict[asyncio.Task[Sent], Caller] = {}

    @property
    def configured(self) -> bool:
        """Whether the channel has any provider."""
        return bool(self._dispatcher.chain.links)

    async def send(
        self,
        content: Content,
        *,
        guarantee: Guarantee,
        metadata: Mapping[str, str],
        time_left: float | None,
    ) -> Sent:
        """Sends the content within `time_left` seconds; None for the default.

        A caller who goes away stops the walk after the attempt that runs, but
        neither that attempt nor its record: a byte may have left already.
        """
        create_time = self._clock.wall()
        message = Message(
            id=uuid7(int(create_time.timestamp() * 1000), int.from_bytes(os.urandom(10))),
            content=content,
            create_time=create_time,
            guarantee=guarantee,
            metadata=metadata,
        )
        caller = Caller()
        walk = asyncio.create_task(self._walk(message, self._limits.budget(time_left), caller))
        self._running[walk] = caller
        walk.add_done_callback(self._running.pop)
        try:
            return await asyncio.shield(walk)
        except asyncio.CancelledError:
            caller.gone = True
            raise

    async def drain(self, *, seconds: float) -> None:
        """Lets the attempts that run end within `seconds`, cuts off the others, and records both."""
        if not self._running:
            return
        for caller in self._running.values():
            caller.gone = True
        _, late = await asyncio.wait(self._running, timeout=seconds)
        for walk in late:
            walk.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _walk(self, message: Message[Content], budget: float, caller: Caller) -> Sent:
        began = self._clock.monotonic()
        delivery = await self._dispatcher.deliver(message, budget=budget, caller=caller)
        record = record_of(message, delivery, self._clock.wall())
        self._metrics.message(record.channel, record.state, self._clock.monotonic() - began)
        _tell(record, delivery)
        await self._log.append(record)
        return Sent(record=record, verdict=delivery.verdict)


def _tell(record: MessageRecord, delivery: Delivery) -> None:
    """A line in the log for each message; at DEBUG where all went as it should."""
    if record.state is MessageState.SENT and len(delivery.attempts) == 1:
        log.debug("message sent", message_id=record.id, provider=record.provider)
        return
    write = log.warning if record.state is MessageState.FAILED else log.info
    write(
        "message " + record.state.value,
        message_id=record.id,
        channel=record.channel.value,
        provider=record.provider,
        attempts=[f"{a.provider} {a.kind.value}" for a in delivery.attempts if a.kind is not Kind.SKIPPED],
        skipped=[a.provider for a in delivery.attempts if a.kind is Kind.SKIPPED],
        possible_duplicate=record.possible_duplicate,
    )
