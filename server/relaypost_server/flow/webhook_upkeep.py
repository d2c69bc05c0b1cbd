"""What has to be done about webhooks that are over."""

from collections.abc import Sequence

from relaypost_server.core.background import Task
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

    def tasks(self) -> Sequence[Task]:
        return [Task(name="webhook_maintenance", round=self.round, pause=ROUND_SECONDS)]

    async def round(self) -> None:
        """Cleans up and counts, once. Raises LogUnavailableError."""
        await self._store.sweep(retention=self._retention)
        self._backlog = await self._store.backlog()
