"""The routes of the HTTP side."""

from collections.abc import Callable, Iterable

from aiohttp import web

from relaypost_server.flow.health import HealthReader
from relaypost_server.telemetry.metrics import CONTENT_TYPE, Metrics
from relaypost_server.web.health_json import health_json, readiness_json

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
    """Serves the routes on one port."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self, address: str) -> int:
        """Serves on host:port; the port in use. Raises OSError where it cannot."""
        host, _, port = address.rpartition(":")
        await self._runner.setup()
        await web.TCPSite(self._runner, host.strip("[]"), int(port)).start()
        used: int = self._runner.addresses[0][1]
        return used

    async def stop(self) -> None:
        await self._runner.cleanup()
