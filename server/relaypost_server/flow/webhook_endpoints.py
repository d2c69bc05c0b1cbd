"""What a caller does with its endpoints."""

import secrets
import uuid
from datetime import datetime

from relaypost_server.core.webhook import MOST_ENDPOINTS, Endpoint
from relaypost_server.core.webhook_ports import WebhookStore
from relaypost_server.core.webhook_signing import SECRET_BYTES, shown
from relaypost_server.flow.clock import Clock


class WebhookEndpoints:
    """Makes ids and secrets. What needs neither is asked of the `store`."""

    def __init__(self, store: WebhookStore, *, grace: float, clock: Clock) -> None:
        """`grace`: seconds for which old secrets go on signing, where a caller does not say."""
        self.store = store
        self._grace = grace
        self._clock = clock

    async def create(
        self, caller: str, url: str, event_types: tuple[str, ...], description: str
    ) -> tuple[Endpoint, str] | None:
        """The endpoint and its secret; None where the caller has too many. Raises LogUnavailableError."""
        secret = secrets.token_bytes(SECRET_BYTES)
        wanted = Endpoint(
            id=str(uuid.uuid4()),
            caller=caller,
            url=url,
            event_types=event_types,
            description=description,
            create_time=self._clock.wall(),
        )
        made = await self.store.create(wanted, secret, most=MOST_ENDPOINTS)
        return None if made is None else (made, shown(secret))

    async def rotate(self, endpoint_id: str, caller: str, grace: float | None) -> tuple[str, datetime] | None:
        """The new secret, and when the old ones end; None where the caller has no such endpoint.

        Raises LogUnavailableError.
        """
        secret = secrets.token_bytes(SECRET_BYTES)
        end = await self.store.rotate(endpoint_id, caller, secret, grace=self._grace if grace is None else grace)
        return None if end is None else (shown(secret), end)
