"""What every part of a gateway is built with."""

from dataclasses import dataclass, field
from typing import Protocol

from relaypost_server.assembly.shutdown import Phase, Shutdown
from relaypost_server.config import Config
from relaypost_server.flow.clock import Clock
from relaypost_server.telemetry.metrics import Metrics
from relaypost_server.telemetry.tracing import Tracing


class Background(Protocol):
    """A part that works by itself from start to stop."""

    def start(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The configuration, the tools that parts share, and how they are stopped."""

    config: Config
    shutdown: Shutdown
    """Where each part that has been started says how it is stopped."""
    tracing: Tracing
    clock: Clock = field(default_factory=Clock)
    metrics: Metrics = field(default_factory=Metrics)

    def run(self, part: Background) -> None:
        """Starts a part, and stops it with the gateway."""
        part.start()
        self.shutdown.then(Phase.BACKGROUND, part.stop)
