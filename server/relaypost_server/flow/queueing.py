"""Takes messages on that are sent later."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from relaypost_server.core.adjustments import Adjustment
from relaypost_server.core.idempotency import RequestKey, fingerprint, fingerprint_of_0_1
from relaypost_server.core.message import Email, Guarantee, Message, MessageState, Sms
from relaypost_server.core.ports import LogUnavailableError, MessageLog
from relaypost_server.core.queue import TIME_TO_LIVE, Lane, Queued, Schedule
from relaypost_server.core.queue_ports import DeadLetter, QueueStore
from relaypost_server.core.record import MessageRecord, record_at_start
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.ids import new_id
from relaypost_server.flow.requests import RequestReusedError
from relaypost_server.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A message that is stored."""

    record: MessageRecord
    replayed: bool = False
    """An earlier request with the same name stored it."""


class UnknownMessageError(Exception):
    """There is no message with this id."""


class MessageStateError(Exception):
    """The state of the message does not allow the operation."""

    def __init__(self, state: MessageState) -> None:
        super().__init__(state.value)
        self.state = state


class Queueing:
    """The queue as callers see it."""

    def __init__(
        self,
        store: QueueStore,
        message_log: MessageLog,
        *,
        on_stored: Callable[[], None],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """`on_stored` is called when there is something to send."""
        self._store = store
        self._log = message_log
        self._on_stored = on_stored
        self._metrics = metrics
        self._clock = clock

    async def enqueue(
        self,
        content: Email | Sms,
        *,
        schedule: Schedule,
        guarantee: Guarantee,
        metadata: Mapping[str, str],
        caller: str,
        key: RequestKey | None,
        method: str,
        asked: str = "",
        adjustments: tuple[Adjustment, ...] = (),
    ) -> Accepted:
        """Stores a message. `asked` and `adjustments` as in `Sender.send`.

        Raises RequestReusedError, LogUnavailableError or EnqueueInDoubtError.
        """
        message = queued(
            content,
            schedule=schedule,
            guarantee=guarantee,
            metadata=metadata,
            caller=caller,
            method=method,
            request_id=key.request_id if key else "",
            now=self._clock.wall(),
            asked=asked,
            adjustments=adjustments,
        )
        (stored,) = await self._store.enqueue([message])
        if not stored.new:
            return await self._replay(message)
        self._metrics.enqueued(schedule.lane, 1)
        self._metrics.adjusted(adjustments)
        self._on_stored()
        return Accepted(record=message.record)

    async def cancel(self, message_id: str) -> MessageRecord:
        """The message, CANCELLED now or by an earlier call.

        Raises MessageStateError where it cannot be cancelled in its state, UnknownMessageError or LogUnavailableError.
        """
        record = await self._store.cancel(message_id)
        if record is None:
            raise UnknownMessageError
        if record.state is not MessageState.CANCELLED:
            raise MessageStateError(record.state)
        return record

    async def requeue(self, message_id: str) -> MessageRecord:
        """The message, queued.

        Raises MessageStateError where it is no dead letter, UnknownMessageError or LogUnavailableError.
        """
        requeued, record = await self._store.requeue(message_id, _TTL_SECONDS)
        if record is None:
            raise UnknownMessageError
        if not requeued:
            raise MessageStateError(record.state)
        self._on_stored()
        return record

    async def dead_letters(self, *, before: str | None, limit: int) -> Sequence[DeadLetter]:
        """Messages that were given up, newest first. Raises LogUnavailableError."""
        return await self._store.dead_letters(before=before, limit=limit)

    async def _replay(self, message: Queued) -> Accepted:
        earlier = await self._store.earlier(message)
        if earlier is None:
            raise LogUnavailableError  # Forgotten this very moment.
        message_id, asked = earlier
        if asked not in (message.fingerprint, _fingerprint_of_0_1(message)):
            self._metrics.request("reused")
            raise RequestReusedError
        record = await self._log.get(message_id)
        if record is None:
            raise LogUnavailableError
        self._metrics.request("replayed")
        return Accepted(record=record, replayed=True)


def _fingerprint_of_0_1(queued: Queued) -> str:
    message = queued.message
    return fingerprint_of_0_1(message.content, message.guarantee, message.metadata)


_TTL_SECONDS: Mapping[Lane, float] = {lane: ttl.total_seconds() for lane, ttl in TIME_TO_LIVE.items()}


def queued(
    content: Email | Sms,
    *,
    schedule: Schedule,
    guarantee: Guarantee,
    metadata: Mapping[str, str],
    caller: str,
    method: str,
    request_id: str,
    now: datetime,
    batch_id: str | None = None,
    asked: str = "",
    adjustments: tuple[Adjustment, ...] = (),
) -> Queued:
    """The message with an id, and everything that is stored with it."""
    message_id = new_id(now)
    content_of_any_channel: Any = content
    message = Message(
        id=message_id,
        content=content_of_any_channel,
        create_time=now,
        guarantee=guarantee,
        metadata=metadata,
        caller=caller,
        adjustments=adjustments,
    )
    return Queued(
        message=message,
        record=replace(record_at_start(message), state=MessageState.QUEUED),
        schedule=schedule,
        caller=caller,
        method=method,
        request_id=request_id or message_id,
        fingerprint=asked or fingerprint(content, guarantee, metadata),
        batch_id=batch_id,
    )
