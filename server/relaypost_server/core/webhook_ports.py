"""What webhooks ask of the world."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from relaypost_server.core.webhook import ClaimedDelivery, Delivery, DeliveryQuery, Endpoint
from relaypost_server.core.webhook_retry import Answer, Settlement


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits, over all gateways."""

    pending: int = 0
    """Deliveries to endpoints that are in use."""
    dead: int = 0
    oldest: float = 0.0
    """Seconds since the oldest of the pending ones was made."""


class WebhookStore(Protocol):
    """Where endpoints and deliveries are kept. Every method raises LogUnavailableError."""

    async def create(self, endpoint: Endpoint, secret: bytes, *, most: int) -> Endpoint | None:
        """Registers an endpoint; None where its caller has `most` already."""
        ...

    async def endpoints(self, caller: str) -> Sequence[Endpoint]:
        """All of a caller, the oldest first."""
        ...

    async def delete(self, endpoint_id: str, caller: str) -> bool:
        """Forgets an endpoint and its deliveries. False: the caller has no such endpoint."""
        ...

    async def enable(self, endpoint_id: str, caller: str) -> Endpoint | None:
        """Puts an endpoint in use again; None where the caller has no such endpoint."""
        ...

    async def rotate(self, endpoint_id: str, caller: str, secret: bytes, *, grace: float) -> datetime | None:
        """Makes this the secret; when the old ones end, which is in `grace` seconds.

        None where the caller has no such endpoint.
        """
        ...

    async def deliveries(self, query: DeliveryQuery) -> Sequence[Delivery]:
        """At most `page_size` deliveries, the newest first."""
        ...

    async def redeliver(self, delivery_id: str, caller: str) -> Delivery | None:
        """Makes a delivery due now, with all its attempts; None where the caller has no such delivery."""
        ...

    async def claim(self, *, busy: Mapping[str, int], each: int, most: int, lease: float) -> Sequence[ClaimedDelivery]:
        """At most `most` deliveries that are due, which nobody else is given for `lease` seconds.

        Of one endpoint at most `each`, less those that are `busy` already.
        """
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Notes how attempts ended, each unless somebody else has claimed the delivery since."""
        ...

    async def backlog(self) -> Backlog: ...

    async def sweep(self, *, retention: float) -> None:
        """Forgets deliveries that were made longer ago than so many seconds, and secrets that are over."""
        ...


class WebhookSender(Protocol):
    """Makes the request."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Posts once. Whatever goes wrong is told in the answer; only bugs and cancellation raise."""
        ...
