"""What has to be done about codes that are over."""

from collections.abc import Sequence

from relaypost_server.core.background import Task
from relaypost_server.core.otp import Conversion
from relaypost_server.core.ports import OtpStore
from relaypost_server.flow.background import Background
from relaypost_server.telemetry.metrics import Metrics

ROUND_SECONDS = 30.0


class OtpUpkeep(Background):
    """Cleans up, and keeps count of how many codes come back."""

    def __init__(self, store: OtpStore, *, retention: float, window: float, metrics: Metrics) -> None:
        """`retention`: how long a code's row is kept. `window`: what conversions look back over. Seconds."""
        self._store = store
        self._retention = retention
        self.window = window
        self.conversions: Sequence[Conversion] = ()
        """As they were counted last."""
        metrics.watch_conversions(lambda: self.conversions)

    def tasks(self) -> Sequence[Task]:
        return [Task(name="otp_maintenance", round=self.round, pause=ROUND_SECONDS)]

    async def round(self) -> None:
        """Cleans up and counts, once. Raises LogUnavailableError."""
        await self._store.sweep(retention=self._retention)
        self.conversions = await self._store.conversions(window=self.window)
