"""Webhooks: who is told of what, and what has become of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from relaypost_server.core.delivery import EventType
from relaypost_server.core.message import MessageState

STATE_EVENTS = tuple(f"message.{state}" for state in MessageState if state is not MessageState.SENDING)
"""A message that is being sent is no news: where it ends up is."""
ENGAGEMENT_EVENTS = (f"message.{EventType.OPENED}", f"message.{EventType.CLICKED}")
"""What recipients do. Sent to endpoints that name them, for one message may have many."""
EVENT_TYPES = (*STATE_EVENTS, *ENGAGEMENT_EVENTS)
MOST_ENDPOINTS = 50
"""Of one caller: each change of a message becomes as many deliveries."""


class DeliveryState(StrEnum):
    """What has become of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    """Every try failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A URL that is told of a caller's messages."""

    id: str
    caller: str
    url: str = field(repr=False)
    """May hold a token of the receiver's."""
    event_types: tuple[str, ...] = ()
    """Empty: all STATE_EVENTS."""
    description: str = ""
    create_time: datetime
    disable_time: datetime | None = None
    """Since when it is told nothing, because it answered 410 Gone."""
    failures: int = 0
    """Attempts that failed since the last one that did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a message."""

    id: str
    """The same for every endpoint and every attempt: receivers know a repetition by it."""
    type: str
    time: datetime
    data: Mapping[str, Any] = field(repr=False)
    """The message as it was then, without its text."""

    @property
    def body(self) -> bytes:
        """What is posted, in the shape that the Standard Webhooks specification recommends."""
        moment = self.time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        content = {"type": self.type, "timestamp": moment, "data": self.data}
        return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one endpoint, as its caller sees it."""

    id: str
    endpoint_id: str
    event_id: str
    event_type: str
    event_time: datetime
    message_id: str
    state: DeliveryState
    attempts: int
    """Since somebody last asked for them."""
    create_time: datetime
    attempt_time: datetime | None = None
    """When the last attempt began."""
    next_time: datetime | None = None
    """When the next attempt is due."""
    status: int = 0
    """The HTTP status of the last attempt; 0: there was no answer."""
    detail: str = ""
    """Why the last attempt failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelivery:
    """A delivery that this gateway is to attempt, before its lease ends."""

    id: str
    claim: int
    """Grows with each attempt: the outcome of an earlier one counts no more."""
    attempt: int
    """1 for the first."""
    endpoint_id: str
    url: str = field(repr=False)
    failures: int
    """Of the endpoint; see there."""
    secrets: tuple[bytes, ...] = field(repr=False)
    """Those that sign, the newest first."""
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryQuery:
    """Which deliveries to list; empty filters let everything through."""

    caller: str
    page_size: int = 50
    before: tuple[datetime, str] | None = None
    """Only those behind this one: when it was made, and its id."""
    endpoint_id: str | None = None
    state: DeliveryState | None = None
