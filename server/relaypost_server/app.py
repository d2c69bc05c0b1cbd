"""Runs the gateway: the only file that knows every room."""

import asyncio
import signal
from contextlib import suppress
from dataclasses import dataclass

import structlog

from relaypost_server.api.server import GrpcServer, ServerLimits
from relaypost_server.assembly.descriptors import Shares, share_out
from relaypost_server.assembly.parts import Parts, build_callbacks, open_parts
from relaypost_server.assembly.preload import preload
from relaypost_server.assembly.queueing import build_batches, run_worker
from relaypost_server.assembly.services import build_servicers
from relaypost_server.assembly.shutdown import Phase, Shutdown
from relaypost_server.assembly.site import Site
from relaypost_server.assembly.storage import database_url
from relaypost_server.config import Config, for_development
from relaypost_server.flow.background import BackgroundTasks
from relaypost_server.flow.watch import Watcher
from relaypost_server.gateway_settings import GatewaySettings
from relaypost_server.telemetry.metrics import Metrics
from relaypost_server.telemetry.tracing import Tracing
from relaypost_server.templates.check import gateway_templates
from relaypost_server.templates.render import Templates
from relaypost_server.web.app import HttpServer, build
from relaypost_server.web.callbacks import CallbackRoutes
from relaypost_server.web.connections import ConnectionLimits
from relaypost_server.web.peers import Peers

log = structlog.get_logger("relaypost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where a running gateway listens."""

    grpc: str
    http: str


class Gateway:
    """One gateway, from start to stop."""

    def __init__(self, config: Config, *, serves: bool = True) -> None:
        """A gateway that does not serve does nothing but work at the queue."""
        self._config = config
        self._serves = serves
        self._shutdown = Shutdown()
        self._metrics = Metrics()
        self.tasks = BackgroundTasks(on_failure=self._metrics.background_failure)
        """The background tasks of the gateway."""
        self._ready = False

    async def start(self) -> Endpoints:
        """Starts every part, or none. Raises OSError, EmbeddedPostgresError, SettingsError or TracingError."""
        try:
            endpoints = await self._start()
        except BaseException:
            await self._shutdown.run(delay=0.0, grace=0.0)
            raise
        self._ready = True
        return endpoints

    async def stop(self, *, delay: float) -> None:
        """Stops every part; goes on serving for `delay` seconds while load balancers look elsewhere."""
        self._ready = False
        grace = self._config.gateway.shutdown_grace_seconds
        await self._shutdown.run(delay=delay if self._serves else 0.0, grace=grace)

    def hurry(self) -> None:
        """Ends the delay and the grace of a stop: attempts in flight are cut off and recorded."""
        self._shutdown.hurry()

    async def _start(self) -> Endpoints:
        gateway = self._config.gateway
        templates = await asyncio.to_thread(gateway_templates, gateway.templates_dir, gateway.default_locale)
        url = await database_url(gateway, self._shutdown)
        site = Site(
            config=self._config,
            shutdown=self._shutdown,
            tracing=Tracing.from_environment(),
            metrics=self._metrics,
            tasks=self.tasks,
        )
        site.shutdown.then(Phase.TELEMETRY, lambda: asyncio.to_thread(site.tracing.stop))
        parts = await open_parts(site, url)
        shares = _shares(self._config)
        http = await self._serve_http(site, parts, shares)
        grpc = await self._serve_grpc(site, parts, templates, shares) if self._serves else ""
        # Once nothing can fail any more: a start that fails would cut off what has begun to be sent.
        if self._config.queue.work_in_serve or not self._serves:
            run_worker(site, parts.queues, parts.database, parts.senders)
        site.supervise([preload(templates.warm_up)])
        return Endpoints(grpc=grpc, http=http)

    async def _serve_http(self, site: Site, parts: Parts, shares: Shares) -> str:
        callbacks = build_callbacks(site, parts)
        gateway, peers = site.config.gateway, Peers(site.config.gateway.proxies)
        routes = CallbackRoutes(callbacks, peers=peers).routes()
        app = build(parts.health, site.metrics, lambda: self._ready, routes)
        limits = ConnectionLimits(most=shares.http, per_peer=gateway.max_http_connections_per_peer)
        server = HttpServer(app, limits=limits, peers=peers, metrics=site.metrics)
        address = gateway.http_address
        port = await server.start(address)
        site.shutdown.then(Phase.CONNECTIONS, server.stop)
        return _with_port(address, port)

    async def _serve_grpc(self, site: Site, parts: Parts, templates: Templates, shares: Shares) -> str:
        gateway = site.config.gateway
        watcher, batches = Watcher(parts.message_log), build_batches(site, parts.queues, parts.database)
        servicers = await build_servicers(site, parts, templates, watcher, batches)
        server = GrpcServer(
            servicers,
            parts.health,
            limits=_limits(gateway, shares.grpc),
            tracing=site.tracing,
            metrics=site.metrics,
            tasks=site.tasks,
        )
        site.run(watcher)
        site.shutdown.at_once(server.turn_away)
        site.shutdown.in_flight(server)
        return _with_port(gateway.grpc_address, await server.start(gateway.grpc_address))


async def run(config: Config, *, serves: bool = True) -> None:
    """Runs a gateway until SIGTERM or Ctrl-C."""
    gateway = Gateway(config, serves=serves)
    signals = _stop_signals()
    starting = asyncio.create_task(gateway.start())
    received = asyncio.create_task(signals.get())
    await asyncio.wait([starting, received], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        await _give_up(starting, await received)
        return
    endpoints = await starting
    log.info(
        "serving" if serves else "working",
        grpc=endpoints.grpc,
        http=endpoints.http,
        providers=[f"{p.kind.channel}: {p.kind.name}" for p in config.providers],
    )
    first = await received
    log.info("stopping", signal=first.name)
    hurrying = asyncio.create_task(_hurry(gateway, signals))
    # Ctrl-C comes from a terminal: no load balancer to wait for.
    await gateway.stop(delay=0.0 if first is signal.SIGINT else config.gateway.shutdown_delay_seconds)
    hurrying.cancel()
    log.info("stopped")


async def _give_up(starting: "asyncio.Task[Endpoints]", received: signal.Signals) -> None:
    """Cancels a start, which stops the parts that were started."""
    log.info("stopping", signal=received.name)
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await starting
    log.info("stopped")


async def _hurry(gateway: Gateway, signals: "asyncio.Queue[signal.Signals]") -> None:
    """Waits for a second signal, then ends the delay and the grace of the shutdown."""
    received = await signals.get()
    log.warning("stopping at once", signal=received.name)
    gateway.hurry()


def _stop_signals() -> "asyncio.Queue[signal.Signals]":
    """The signals that ask for an end, as they come."""
    loop = asyncio.get_running_loop()
    received: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received.put_nowait, number)
    return received


def _shares(config: Config) -> Shares:
    gateway, pools = config.gateway, [p.settings.pool_size for p in config.providers if not for_development(p)]
    return share_out(grpc=gateway.max_grpc_connections, http=gateway.max_http_connections, pools=sum(pools))


def _limits(gateway: GatewaySettings, connections: int) -> ServerLimits:
    return ServerLimits(
        request_bytes=gateway.max_request_bytes,
        connections=connections,
        concurrent_streams=gateway.max_concurrent_streams,
        concurrent_calls=gateway.max_concurrent_calls,
        pending_calls=gateway.max_pending_calls,
    )


def _with_port(address: str, port: int) -> str:
    """The address with the port that was given to it."""
    return f"{address.rpartition(':')[0]}:{port}"
