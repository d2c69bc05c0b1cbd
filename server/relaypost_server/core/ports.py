"""What the core asks of the world."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from relaypost_server.core.message import Channel, Content, Message, MessageState
from relaypost_server.core.outcome import Outcome
from relaypost_server.core.record import MessageRecord


class Provider(Protocol[Content]):
    """One way to send messages of one channel."""

    name: str
    channel: Channel

    async def send(self, message: Message[Content], *, timeout: float) -> Outcome:
        """Hands the message over once, within `timeout` seconds.

        A refusal is returned, whatever form it took. Only bugs and cancellation raise.
        """
        ...

    async def check(self) -> Sequence["Finding"]:
        """Asks the provider, without sending anything, whether a send would work now."""
        ...

    async def close(self) -> None:
        """Gives back every connection."""
        ...


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    UNKNOWN = "unknown"
    """It could not be found out."""
    WARNING = "warning"
    """Sends work, with a limit that will hurt."""
    FAILURE = "failure"
    """Sends do not work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a provider's check found out."""

    subject: str
    """What was looked at, for example "credentials"."""
    level: Level
    detail: str
    fix: str = ""
    """What to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageQuery:
    """Which messages to list; empty filters let everything through."""

    page_size: int = 50
    before: str | None = None
    """Only messages older than this one."""
    states: tuple[MessageState, ...] = ()
    channel: Channel | None = None
    recipient: str = ""
    provider: str = ""
    created_from: datetime | None = None
    created_before: datetime | None = None


class LogUnavailableError(Exception):
    """The message log cannot be read now."""


class MessageLog(Protocol):
    """Where every message is kept."""

    async def append(self, record: MessageRecord) -> bool:
        """Keeps the record. True once it is durable.

        False where the log is away: the record waits and is written when the
        log is back. Never raises, for the message has already been sent.
        """
        ...

    async def get(self, message_id: str) -> MessageRecord | None:
        """One message, or None. Raises LogUnavailableError."""
        ...

    async def list(self, query: MessageQuery) -> Sequence[MessageRecord]:
        """At most `page_size` messages, newest first. Raises LogUnavailableError."""
        ...
