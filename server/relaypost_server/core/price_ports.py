"""What the world tells of the prices that providers themselves name, some time after a send."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from relaypost_server.core.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpriced:
    """An accepted attempt whose price the provider has not told."""

    message_id: str
    number: int
    """Of the attempt; 1 for the first."""
    provider_message_id: str
    start_time: datetime


class PricesUnavailableError(Exception):
    """The provider cannot be asked for prices now. The text is safe to show."""


@runtime_checkable
class PriceReader(Protocol):
    """The further talent of some providers."""

    name: str
    prices_a_minute: int
    """How many messages it may be asked about in a minute; 0: none."""

    async def prices(self, sent: Sequence[Unpriced]) -> Mapping[str, Money]:
        """The prices that are known by now, by the provider's ids. Raises PricesUnavailableError."""
        ...


class PriceLog(Protocol):
    """Where it is kept which prices are still to come, over all replicas. Its methods raise LogUnavailableError."""

    async def due(self, provider: str, limit: int) -> Sequence[Unpriced]:
        """At most `limit` attempts to ask about now. No other replica gets them, nor this one, for a good while."""
        ...

    async def put_off(self, unpriced: Sequence[Unpriced]) -> None:
        """Takes back that the provider was asked about these."""
        ...

    async def keep(self, prices: Sequence[tuple[Unpriced, Money]]) -> None:
        """Puts prices on record, and into the cost of their messages."""
        ...
