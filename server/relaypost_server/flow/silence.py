"""Waits for the confirmation of messages, and sends once more what nobody confirmed.

The log keeps no text, so the contents wait in the memory of the gateway that
sent them: where it ends, no second copy is sent. The log says what became of a
message, and decides who sends it again, so that two gateways never both do.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol

import structlog

from relaypost_server.core.background import Task
from relaypost_server.core.failover import Attempt
from relaypost_server.core.message import Content, Message
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.record import MessageRecord
from relaypost_server.core.silence import Confirm, News, OtpSend, Step, decide, may_be_followed, still_untouched, weight
from relaypost_server.flow.background import Background
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.dispatch import Dispatcher
from relaypost_server.telemetry.metrics import Metrics

LOOK_SECONDS = 1.0
"""Between two looks at the log. One look serves every message that waits."""
LARGEST_PART = 0.1
"""Of the time that looks may take; 10,000 messages take some 0.15 s of the database and the client together."""
MOST_AT_ONCE = 20
"""Second sends under way: a provider that fell silent must not make a storm for the next."""
WARN_SECONDS = 60.0
"""Between two warnings about the same provider."""

log = structlog.get_logger("relaypost.silence")


class SilenceLog(Protocol):
    """What the log knows of messages that wait. Every method raises LogUnavailableError."""

    async def news(self, waiting: Mapping[str, OtpSend | None]) -> Mapping[str, News]:
        """What is known of those of the messages that are on record; each with the code that it carries."""
        ...

    async def claim(
        self, record: MessageRecord, attempts: Sequence[Attempt], provider: str, otp: OtpSend | None, *, first: bool
    ) -> bool:
        """Puts on record that the provider is about to get a second copy. False: the message may not be sent again.

        `attempts`: of the second walk, that one included. `first`: no provider was asked before in this walk.
        """
        ...

    async def finish(self, record: MessageRecord, attempts: Sequence[Attempt], *, sent_by: str) -> None:
        """Puts the end of the second walk on record; `sent_by` has the copy, or may have it; "" for nobody."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(Generic[Content]):
    """A message that waits for its confirmation."""

    message: Message[Content]
    record: MessageRecord
    confirm: Confirm
    dispatcher: Dispatcher[Content]
    since: float
    """Monotonic seconds."""
    weight: int
    """Bytes."""

    @property
    def due(self) -> float:
        return self.since + self.confirm.within


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The most messages that may wait, and the most bytes of them all."""

    messages: int
    bytes: int


class Again(Protocol):
    """Sends a message once more."""

    async def send(self, waiting: Waiting[Any]) -> str:
        """What came of it, in a word for the metrics."""
        ...

    def cut_off(self) -> None:
        """Ends attempts that run as unconfirmed, and begins no other."""
        ...


class Silences(Background):
    """Every message of this process that waits."""

    def __init__(
        self,
        silence_log: SilenceLog,
        again: Again,
        *,
        reporting: Collection[str],
        room: Room,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """`reporting`: the providers that report receipts."""
        self._log = silence_log
        self._again = again
        self._reporting = reporting
        self._room = room
        self._metrics = metrics
        self._clock = clock
        self._waiting: dict[str, Waiting[Any]] = {}
        self._bytes = 0
        self._sending: set[asyncio.Task[None]] = set()
        self._work = asyncio.Event()
        self._stopped = False
        self._warned: dict[str, float] = {}
        metrics.watch_silences(lambda: (len(self._waiting), self._bytes))

    def tasks(self) -> Sequence[Task]:
        return [Task(name="confirmations", round=self._round)]

    async def drain(self) -> None:
        """Drops waiting messages and waits for second sends in flight. On cancellation, cancels these."""
        self._stopped = True
        await super().stop()
        if self._waiting:
            log.warning("no longer waited for confirmation", messages=len(self._waiting))
        for waiting in list(self._waiting.values()):
            self._leave(waiting, "dropped")
        sending = set(self._sending)
        try:
            if sending:
                await asyncio.wait(sending)
        except asyncio.CancelledError:  # The log is away: they stay as they were before the first byte.
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            raise

    def cut_off(self) -> None:
        """Ends second sends in flight as unconfirmed; each is still recorded."""
        self._again.cut_off()

    def follow(
        self, message: Message[Content], record: MessageRecord, confirm: Confirm, dispatcher: Dispatcher[Content]
    ) -> datetime | None:
        """Waits for the message from now on; until when, or None where that would be of no use."""
        obstacle = self._obstacle(message, record, confirm, dispatcher)
        if obstacle:
            self._metrics.silence(record.channel, record.provider, obstacle)
            return None
        waiting = Waiting(
            message=message,
            record=record,
            confirm=confirm,
            dispatcher=dispatcher,
            since=self._clock.monotonic(),
            weight=weight(message),
        )
        self._waiting[record.id] = waiting
        self._bytes += waiting.weight
        self._work.set()
        return self._clock.wall() + timedelta(seconds=confirm.within)

    def _obstacle(
        self, message: Message[Content], record: MessageRecord, confirm: Confirm, dispatcher: Dispatcher[Content]
    ) -> str:
        """Why the message cannot be waited for, in a word for the metrics; "" where it can."""
        if self._stopped or record.id in self._waiting or not may_be_followed(record):
            return "not_followed"
        if record.provider not in self._reporting and confirm.otp is None:
            self._warn(record.provider)
            return "no_receipts"
        if not still_untouched([c.provider for c in dispatcher.chain.candidates], record.attempts):
            return "no_other_provider"
        if len(self._waiting) >= self._room.messages or self._bytes + weight(message) > self._room.bytes:
            return "no_room"
        return ""

    def _warn(self, provider: str) -> None:
        now = self._clock.monotonic()
        if now - self._warned.get(provider, -WARN_SECONDS) >= WARN_SECONDS:
            self._warned[provider] = now
            log.warning("silence goes unnoticed: no receipts are set up", provider=provider)

    async def _round(self) -> float:
        await self._work.wait()
        began = self._clock.monotonic()
        await self.look()
        if not self._waiting:
            self._work.clear()
        took = self._clock.monotonic() - began
        return max(LOOK_SECONDS, took / LARGEST_PART)

    async def look(self) -> None:
        """Does what there is to do, once."""
        watched = {message_id: w.confirm.otp for message_id, w in self._waiting.items()}
        try:
            news = await self._log.news(watched)
        except LogUnavailableError:
            news = {}  # The log reports that itself. What is due fails at its claim.
        now = self._clock.monotonic()
        for message_id in watched:
            waiting = self._waiting[message_id]
            match decide(news.get(message_id), overdue=now >= waiting.due):
                case Step.CONFIRMED:
                    self._leave(waiting, "confirmed")
                case Step.GIVE_UP:
                    self._leave(waiting, "given_up")
                case Step.SEND_AGAIN:
                    self._send_again(waiting)

    def _send_again(self, waiting: Waiting[Any]) -> None:
        if len(self._sending) >= MOST_AT_ONCE:
            return  # At the next look.
        self._leave(waiting, None)
        task = asyncio.create_task(self._send(waiting))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, waiting: Waiting[Any]) -> None:
        result = "failed"
        try:
            result = await self._again.send(waiting)
        except Exception:
            log.exception("second send failed", message_id=waiting.record.id)
        self._metrics.silence(waiting.record.channel, waiting.record.provider, result)

    def _leave(self, waiting: Waiting[Any], result: str | None) -> None:
        del self._waiting[waiting.record.id]
        self._bytes -= waiting.weight
        if result is not None:
            self._metrics.silence(waiting.record.channel, waiting.record.provider, result)
