"""What every part of a gateway is built with."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from relaypost_server.assembly.shutdown import Phase, Shutdown
from relaypost_server.config import Config
from relaypost_server.core.background import Task
from relaypost_server.flow.background import Background, BackgroundTasks
from relaypost_server.flow.clock import Clock
from relaypost_server.telemetry.metrics import Metrics
from relaypost_server.telemetry.tracing import Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The configuration, the tools that parts share, and how they are stopped."""

    config: Config
    shutdown: Shutdown
    """Each part that is started registers here how it is stopped."""
    tracing: Tracing
    clock: Clock = field(default_factory=Clock)
    metrics: Metrics = field(default_factory=Metrics)
    tasks: BackgroundTasks = field(default_factory=BackgroundTasks)

    def run(self, component: Background) -> None:
        """Starts the component's background tasks, and stops them with the gateway."""
        component.start(self.tasks)
        self.shutdown.then(Phase.BACKGROUND, component.stop)

    def supervise(self, tasks: Iterable[Task]) -> None:
        """Runs background tasks that stop before the connections that they use."""
        for task in tasks:
            self.shutdown.then(Phase.BACKGROUND, self.tasks.start(task).stop)
