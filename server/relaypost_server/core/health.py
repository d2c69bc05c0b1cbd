"""The state of every provider, as callers and people are shown it."""

from dataclasses import dataclass
from datetime import datetime

from relaypost_server.core.background import TaskHealth
from relaypost_server.core.breaker import CircuitState, OpenReason
from relaypost_server.core.delivery_rates import DeliveryRate
from relaypost_server.core.message import Channel
from relaypost_server.core.outcome import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class LastFailure:
    """The last attempt that ended in anything but acceptance."""

    time: datetime
    kind: Kind
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CountryConversion:
    """One-time passwords to one country that are over, and those that were verified; `window` is in seconds."""

    country: str
    sent: int
    verified: int
    window: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderHealth:
    """One provider; `window` is in seconds, the counts look back over it."""

    provider: str
    channel: Channel
    priority: int
    available: bool
    circuit_state: CircuitState
    circuit_reason: OpenReason | None
    circuit_change_time: datetime | None
    retry_time: datetime | None
    consecutive_failures: int
    recent_calls: int
    recent_failures: int
    window: float
    last_success_time: datetime | None
    last_failure: LastFailure | None
    conversions: tuple[CountryConversion, ...] = ()
    delivery_rates: tuple[DeliveryRate, ...] = ()
    wary_until_time: datetime | None = None
    """Until when one failure opens the circuit, for another gateway's has opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelHealth:
    """One channel and its chain, in the order in which it is tried."""

    channel: Channel
    providers: tuple[ProviderHealth, ...]

    @property
    def serving(self) -> bool:
        """Whether any provider would be offered the next message."""
        return any(p.available for p in self.providers)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageLogHealth:
    """Whether the log can be written, and what waits for it."""

    available: bool
    waiting: int
    """Records, in memory or on disk."""
    spool_bytes: int = 0
    takes_request_ids: bool = True
    """Requests with a `request_id` need the database, unless they are sent without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Every channel, and the log that all of them share."""

    channels: tuple[ChannelHealth, ...]
    message_log: MessageLogHealth


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayHealth:
    """The health of the message log and of the background tasks."""

    message_log: MessageLogHealth
    tasks: tuple[TaskHealth, ...]

    @property
    def degraded(self) -> bool:
        """Whether the log is away or a task fails. The gateway still sends."""
        return not self.message_log.available or any(task.failing for task in self.tasks)
