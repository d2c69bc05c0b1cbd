"""What every part of a gateway is built with."""

from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from relaypost_server.config import Config
from relaypost_server.core.background import Task
from relaypost_server.flow.background import Background, BackgroundTasks
from relaypost_server.flow.clock import Clock
from relaypost_server.telemetry.metrics import Metrics
from relaypost_server.telemetry.tracing import Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The configuration, the tools that parts share, and the order in which they are stopped."""

    config: Config
    running: AsyncExitStack
    """What has been started, to be stopped in the opposite order."""
    tracing: Tracing
    clock: Clock = field(default_factory=Clock)
    metrics: Metrics = field(default_factory=Metrics)
    tasks: BackgroundTasks = field(default_factory=BackgroundTasks)

    def run(self, component: Background) -> None:
        """Starts the component's background tasks, and stops them with the gateway."""
        component.start(self.tasks)
        self.running.push_async_callback(component.stop)

    def supervise(self, tasks: Iterable[Task]) -> None:
        """Runs background tasks of a component that stops by itself; it must be stopped after them."""
        for task in tasks:
            self.running.push_async_callback(self.tasks.start(task).stop)
