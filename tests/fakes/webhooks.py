"""Webhooks for tests: a database that is away."""

from typing import Any, NoReturn

from relaypost_server.api.webhooks import WebhookServicer
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.webhook_targets import TargetPolicy
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.webhook_endpoints import WebhookEndpoints


class NoWebhooks:
    """A `WebhookStore` whose database is away."""

    async def create(self, *_: Any, **__: Any) -> NoReturn:
        raise LogUnavailableError

    endpoints = delete = enable = rotate = deliveries = redeliver = claim = settle = backlog = sweep = create


def webhooks_without_database() -> WebhookServicer:
    return WebhookServicer(WebhookEndpoints(NoWebhooks(), grace=3600.0, clock=Clock()), TargetPolicy())
