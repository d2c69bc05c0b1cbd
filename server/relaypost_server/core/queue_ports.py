"""What the queue asks of the world: a place to keep messages, and an engine that says whose turn it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from relaypost_server.core.background import Task
from relaypost_server.core.pace import Grant, Pace
from relaypost_server.core.queue import Batch, BatchProgress, Death, Job, Lane, Next, Pointer, Queued
from relaypost_server.core.record import MessageRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued:
    """What became of one message that was to be queued."""

    message_id: str
    new: bool
    """False: an earlier request had the same name, and this message was not stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What follows for one queued message."""

    message_id: str
    fence: int
    """The fence of the claim under which it was tried. A step with an outdated fence has no effect."""
    next: Next


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that was given up."""

    record: MessageRecord
    lane: Lane
    reason: Death
    tries: int


class QueueStore(Protocol):
    """Where queued messages are kept until they are sent, over all replicas.

    Every method raises LogUnavailableError.
    """

    async def enqueue(self, queued: Sequence[Queued]) -> Sequence[Enqueued]:
        """Stores the messages in one transaction, in the order in which they are given.

        After LogUnavailableError nothing is stored. Raises EnqueueInDoubtError as well, where that is not known.
        """
        ...

    async def earlier(self, queued: Queued) -> tuple[str, str] | None:
        """The message and the fingerprint of the request that had the name before; None where it was forgotten."""
        ...

    async def claim(self, pointer: Pointer) -> Job | None:
        """Leases a message to a worker; None where it is not to be sent now, or by somebody else."""
        ...

    async def settle(self, step: Step) -> None:
        """Puts on record what follows from a try."""
        ...

    async def hand_over(self, limit: int) -> int:
        """Gives the engine pointers to at most `limit` messages that are due; how many there were.

        Raises QueueUnavailableError as well.
        """
        ...

    async def sweep(self, *, lost: float, dead: float) -> None:
        """Puts right what workers left behind that died, and forgets what dead letters say.

        A pointer of `lost` seconds' age counts as lost, a message that was given up `dead` seconds ago as past help.
        """
        ...

    async def cancel(self, message_id: str) -> MessageRecord | None:
        """Cancels a queued message, in one transaction with what is returned.

        The message as it is then: it is CANCELLED, also by an earlier call whose answer was lost, or it could not
        be cancelled. None: there is no such message.
        """
        ...

    async def requeue(self, message_id: str, ttl: Mapping[Lane, float]) -> tuple[bool, MessageRecord | None]:
        """Gives a dead letter new tries, and its lane's seconds to live, in one transaction with what is returned.

        Whether it did, and the message as it is then; None: there is no such message.
        """
        ...

    async def dead_letters(self, *, before: str | None, limit: int) -> Sequence[DeadLetter]:
        """At most `limit` messages that were given up, newest first."""
        ...

    async def take(self, provider: str, pace: Pace, wanted: int) -> Grant:
        """Takes tokens from the bucket that all workers share."""
        ...


class BatchStore(Protocol):
    """Where it is kept how far batches are. Every method raises LogUnavailableError."""

    async def open(self, batch_id: str, *, caller: str, request_id: str, fingerprint: str) -> Batch:
        """A new batch, or the one that has the name."""
        ...

    async def advance(self, batch_id: str, *, stored: int, closed: bool) -> Batch:
        """The batch, of which every place up to `stored` is stored or was refused."""
        ...

    async def find(self, caller: str, *, batch_id: str = "", request_id: str = "") -> Batch | None:
        """A batch of the caller's, by its id or by its name."""
        ...

    async def progress(self, batch: Batch) -> BatchProgress:
        """How many of its messages are in which state."""
        ...


class EnqueueInDoubtError(Exception):
    """The database did not answer the COMMIT: the messages may be stored, and then they are sent."""


class QueueUnavailableError(Exception):
    """The queue's engine cannot be reached now."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A pointer in the hands of a worker, and what its engine needs to take it back."""

    pointer: Pointer
    handle: Any = None


class Queue(Protocol):
    """An engine: it carries pointers to those who send, each at least once, in roughly the order of their coming.

    Every method but `close` raises QueueUnavailableError.
    """

    async def start(self) -> None:
        """Makes what it needs to carry pointers."""
        ...

    def tasks(self) -> Sequence[Task]:
        """The background tasks of the engine, to run from `start` to `close`."""
        ...

    async def put(self, pointers: Sequence[Pointer]) -> None:
        """Takes pointers on; they are durable when this returns."""
        ...

    async def take(self, lane: Lane, *, most: int, wait: float) -> Sequence[Taken]:
        """Up to `most` pointers of a lane; where there is none, the first that comes within `wait` seconds.

        They come again unless they are `done` with; while this process lives it keeps them.
        """
        ...

    async def done(self, taken: Sequence[Taken]) -> None:
        """Forgets pointers."""
        ...

    async def give_back(self, taken: Sequence[Taken]) -> None:
        """Hands pointers to whoever takes next."""
        ...

    async def close(self) -> None:
        """Gives back what is in hand, as far as the engine can be reached."""
        ...
