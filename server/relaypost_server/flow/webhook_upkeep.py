"""What has to be done about webhooks that are over."""

import asyncio
import contextlib

from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.webhook_ports import Backlog, WebhookStore
from relaypost_server.flow.background import Background
from relaypost_server.telemetry.metrics import Metrics

ROUND_SECONDS = 30.0


class WebhookUpkeep(Background):
    """Cleans up, and keeps count of what waits."""

    def __init__(self, store: WebhookStore, *, retention: float, metrics: Metrics) -> None:
        """`retention`: how long deliveries are kept, in seconds."""
        self._store = store
        self._retention = retention
        self._backlog = Backlog()
        metrics.watch_webhooks(lambda: self._backlog)

    async def round(self) -> None:
        """Cleans up and counts, once. Raises LogUnavailableError."""
        await self._store.sweep(retention=self._retention)
        self._backlog = await self._store.backlog()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(LogUnavailableError):  # The log reports that itself.
                await self.round()
            await asyncio.sleep(ROUND_SECONDS)
