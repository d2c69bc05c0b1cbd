"""The routes of the HTTP side."""

import asyncio
from collections.abc import Callable, Iterable
from typing import cast

from aiohttp import web

from relaypost_server.flow.health import HealthReader
from relaypost_server.telemetry.metrics import CONTENT_TYPE, Metrics
from relaypost_server.web.connections import Connection, ConnectionLimits, Connections
from relaypost_server.web.health_json import health_json, readiness_json
from relaypost_server.web.peers import Peers

LINGERING_SECONDS = 1.0
"""How long the rest of a refused body is read and thrown away, so that its sender sees the answer."""
_JSON_SAFE = {"Cache-Control": "no-store"}


def build(
    health: HealthReader, metrics: Metrics, ready: Callable[[], bool], routes: Iterable[web.RouteDef] = ()
) -> web.Application:
    """`ready` tells whether the gateway takes calls: false while it starts and while it stops.

    `routes` are further ones.
    """

    async def messaging(_request: web.Request) -> web.Response:
        return web.json_response(health_json(health.read()), headers=_JSON_SAFE)

    async def live(_request: web.Request) -> web.Response:
        return web.json_response({"status": "live"}, headers=_JSON_SAFE)

    async def readiness(_request: web.Request) -> web.Response:
        body = readiness_json(health.read_gateway(), ready=ready())
        return web.json_response(body, status=200 if ready() else 503, headers=_JSON_SAFE)

    async def prometheus(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application(client_max_size=64 * 1024)
    app.add_routes(
        [
            web.get("/health/messaging", messaging),
            web.get("/health/live", live),
            web.get("/health/ready", readiness),
            web.get("/metrics", prometheus),
            *routes,
        ]
    )
    return app


class HttpServer:
    """Serves the routes on one port, over a bounded number of connections."""

    def __init__(
        self,
        app: web.Application,
        *,
        limits: ConnectionLimits | None = None,
        peers: Peers | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """For the loop that runs."""
        limits = limits or ConnectionLimits()
        self._connections = Connections(limits, peers or Peers(), metrics or Metrics())
        app.middlewares.append(self._connections.watch)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=1.0,
            keepalive_timeout=limits.kept_seconds,
            lingering_time=LINGERING_SECONDS,
        )
        self._listener: asyncio.Server | None = None

    async def start(self, address: str) -> int:
        """Serves on host:port; the port in use. Raises OSError where it cannot."""
        host, _, port = address.rpartition(":")
        await self._runner.setup()
        handlers, connections = cast(web.Server, self._runner.server), self._connections
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: Connection(handlers(), connections), host.strip("[]"), int(port)
        )
        used: int = self._listener.sockets[0].getsockname()[1]
        return used

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        await self._runner.cleanup()
        self._connections.stop()
