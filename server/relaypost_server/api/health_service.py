"""grpc.health.v1 for the process, for each service, and for each channel.

A channel is NOT_SERVING when every circuit of its chain is open, so a client
that balances by health looks for another gateway.
"""

from collections.abc import Iterable, Sequence

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio

from relaypost_server.core.background import Task
from relaypost_server.core.message import Channel
from relaypost_server.flow.background import Background, BackgroundTasks
from relaypost_server.flow.health import HealthReader

LOOK_SECONDS = 0.5
"""How long a change of a circuit may take to show."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class HealthService(Background):
    """Keeps the standard health service up to date."""

    def __init__(self, reader: HealthReader, services: Iterable[str]) -> None:
        self.servicer = aio.HealthServicer()
        self._reader = reader
        self._services = tuple(services)

    def tasks(self) -> Sequence[Task]:
        return [Task(name="grpc_health", round=self._set_channels, pause=LOOK_SECONDS)]

    async def begin(self, registry: BackgroundTasks) -> None:
        """SERVING, and from now on up to date."""
        for service in ("", *self._services):
            await self.servicer.set(service, _SERVING)
        await self._set_channels()
        self.start(registry)

    async def stop(self) -> None:
        """NOT_SERVING for everything, from now on."""
        await super().stop()
        await self.servicer.enter_graceful_shutdown()

    async def _set_channels(self) -> None:
        serving = {c.channel: c.serving for c in self._reader.read().channels}
        for channel in Channel:
            await self.servicer.set(channel.value, _SERVING if serving.get(channel) else _NOT_SERVING)
