"""Messages that are sent later: how long they live, how often they are tried, and when again."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from relaypost_server.core.failover import Verdict
from relaypost_server.core.idempotency import is_kept
from relaypost_server.core.message import Channel, Message, MessageState
from relaypost_server.core.money import Money
from relaypost_server.core.record import MessageRecord

FIRST_PAUSE = 2.0
"""Seconds at most before the second try; each further pause may be twice as long."""
LONGEST_PAUSE = 900.0
MOST_TRIES = 8
FARTHEST = timedelta(days=366)
"""How far ahead a message may be scheduled."""


class Lane(StrEnum):
    """Which messages go first; each lane has workers of its own."""

    OTP = "otp"
    TRANSACTIONAL = "transactional"
    BULK = "bulk"


TIME_TO_LIVE = {
    Lane.OTP: timedelta(minutes=5),
    Lane.TRANSACTIONAL: timedelta(hours=24),
    Lane.BULK: timedelta(hours=48),
}
"""From the time that a message is due."""


class Death(StrEnum):
    """Why a message was given up."""

    EXPIRED = "its time was over"
    TRIED = "its tries were used up"
    UNREADABLE = "what was stored of it cannot be read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a message is to be sent."""

    due: datetime | None
    """None: at once. The database's clock decides when that is, and when a message is due or has expired."""
    expires: datetime | None
    """None: once the lane's time to live is over, counted from `due`."""
    lane: Lane


@dataclass(frozen=True, slots=True)
class Pointer:
    """What an engine carries: which message, and by which lane. The message itself stays in the database."""

    message_id: str
    lane: Lane
    channel: Channel

    def __str__(self) -> str:
        """The text that an engine carries on a lane."""
        return f"{self.channel} {self.message_id}"

    @classmethod
    def read(cls, text: str, lane: Lane) -> Self:
        """What `str` made. Raises ValueError."""
        channel, _, message_id = text.partition(" ")
        if str(UUID(message_id)) != message_id:
            raise ValueError("is not written as a message's id")
        return cls(message_id, lane, Channel(channel))


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A message to be put in the queue, and its record."""

    message: Message[Any]
    record: MessageRecord
    schedule: Schedule
    caller: str
    method: str
    request_id: str
    """The caller's name for it, or the message's id where there is none."""
    fingerprint: str
    batch_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A queued message in the hands of a worker."""

    message: Message[Any] | None
    """None where what is stored of it cannot be read."""
    record: MessageRecord
    """With the attempts of earlier tries."""
    lane: Lane
    time_left: float
    """Seconds until it expires, by the database's clock, when it was claimed; 0 or less: it has expired."""
    tries: int
    """Including the one that is about to be made."""
    fence: int


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do."""


@dataclass(frozen=True, slots=True)
class Again:
    """Try once more, after so many seconds."""

    pause: float
    counted: bool = True
    """Whether the try was one: not where every provider was passed over."""


@dataclass(frozen=True, slots=True)
class Dead:
    """Give up."""

    reason: Death


Next = Done | Again | Dead


def after(job: Job, record: MessageRecord, verdict: Verdict, *, elapsed: float, draw: float) -> Next:
    """What follows from a try, of which `record` and `verdict` tell what came of it.

    `elapsed`: seconds since the message was claimed. `draw`: a random number from 0 to 1, for full jitter
    (aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter).
    """
    if is_kept(record, cut_short=verdict.cut_short):
        return Done()
    counted = any(a.skipped is None for a in record.attempts[len(job.record.attempts) :])
    if counted and job.tries >= MOST_TRIES:
        return Dead(Death.TRIED)
    pause = max(draw * longest_pause(job.tries), min(verdict.retry_after or 0.0, LONGEST_PAUSE))
    if elapsed + pause >= job.time_left:
        return Dead(Death.EXPIRED)
    return Again(pause, counted)


def longest_pause(tries: int) -> float:
    """Seconds, after so many tries."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * float(1 << min(tries - 1, 30)))


def on_record(job: Job, record: MessageRecord) -> MessageRecord:
    """The record of a try as it is kept: tries in a row that pass every provider over leave the skips of the last one.

    Such a try is repeated, without a count, for as long as the message lives.
    """
    before, made = job.record.attempts, record.attempts[len(job.record.attempts) :]
    if any(a.skipped is None for a in made):
        return record
    while before and before[-1].skipped is not None:
        before = before[:-1]
    return replace(record, attempts=(*before, *made))


def state_of(record: MessageRecord, step: Next) -> MessageState:
    """The state of a message after a try."""
    match step:
        case Again():
            return MessageState.QUEUED
        case Dead() if record.state is MessageState.FAILED:
            return MessageState.DEAD
        case _:
            return record.state


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Many messages that were queued together."""

    id: str
    caller: str
    create_time: datetime
    fingerprint: str
    """Of what holds for all its messages."""
    stored: int
    """Every place up to this one is stored, or was refused."""
    closed: bool
    """Its stream came to an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress:
    """How far a batch is."""

    batch: Batch
    states: Mapping[MessageState, int]
    cost: Money | None = None
    """Of what has been sent, as far as is known and in the currency that most of it was paid in."""

    @property
    def size(self) -> int:
        return sum(self.states.values())

    @property
    def over(self) -> bool:
        """Nothing of it waits any more."""
        waiting = self.states.get(MessageState.QUEUED, 0) + self.states.get(MessageState.SENDING, 0)
        return self.batch.closed and not waiting
