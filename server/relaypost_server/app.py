"""Runs the gateway: the only file that knows every room."""

import asyncio
import gc
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from relaypost_server.api.admin import AdminServicer
from relaypost_server.api.emails import EmailReader
from relaypost_server.api.messaging import MessagingServicer
from relaypost_server.api.otp import OtpServicer
from relaypost_server.api.server import GrpcServer, ServerLimits, Servicers
from relaypost_server.api.suppressions import SuppressionServicer
from relaypost_server.api.templates import TemplateServicer
from relaypost_server.assembly import costs, otps
from relaypost_server.assembly.chains import Chains, build_chains, build_senders
from relaypost_server.assembly.confirmations import run_delivery_upkeep, run_look_ups, run_silences
from relaypost_server.assembly.site import Site
from relaypost_server.assembly.storage import database_url, open_database, open_requests
from relaypost_server.assembly.suppressions import open_suppressions
from relaypost_server.assembly.webhooks import run_webhooks
from relaypost_server.config import Config, GatewaySettings
from relaypost_server.core.ports import CallbackReader
from relaypost_server.flow.accounts import AccountsReader
from relaypost_server.flow.callbacks import Callbacks, Matcher
from relaypost_server.flow.health import HealthReader
from relaypost_server.flow.suppressions import Suppressions
from relaypost_server.flow.watch import Watcher
from relaypost_server.store.database import Database
from relaypost_server.store.deliveries import PostgresDeliveries
from relaypost_server.store.messages import PostgresLog
from relaypost_server.telemetry.tracing import Tracing
from relaypost_server.templates.check import open_templates
from relaypost_server.web.app import HttpServer, build
from relaypost_server.web.callbacks import CallbackRoutes

log = structlog.get_logger("relaypost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where a running gateway listens."""

    grpc: str
    http: str


class Gateway:
    """One gateway, from start to stop."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._running = AsyncExitStack()
        self._ready = False

    async def start(self) -> Endpoints:
        """Starts every part, or none. Raises OSError, EmbeddedPostgresError, SettingsError or TracingError."""
        try:
            endpoints = await self._start()
        except BaseException:
            await self._running.aclose()
            raise
        self._ready = True
        # What is built now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        return endpoints

    async def stop(self, *, delay: float) -> None:
        """Stops every part; goes on serving for `delay` seconds while load balancers look elsewhere."""
        self._ready = False
        await self._grpc.turn_away()
        await asyncio.sleep(delay)
        await self._running.aclose()

    async def _start(self) -> Endpoints:
        gateway = self._config.gateway
        templates = await asyncio.to_thread(open_templates, gateway.templates_dir, gateway.default_locale)
        url = await database_url(gateway, self._running)
        site = Site(config=self._config, running=self._running, tracing=Tracing.from_environment())
        site.running.push_async_callback(asyncio.to_thread, site.tracing.stop)
        peppers = await otps.open_peppers(site)
        database = await open_database(site, url)
        message_log, requests = PostgresLog(database), open_requests(site, database)
        chains = build_chains(site, await costs.keep_budgets(site, database))
        suppressions = await open_suppressions(site, database, chains)
        costs.fetch_prices(site, database, chains.providers)
        otp_store = otps.open_store(site, database)
        health = HealthReader(
            [chains.emails, chains.texts],
            message_log,
            requests_without_log=requests.without_log,
            otps=otps.run_upkeep(site, otp_store),
            deliveries=run_delivery_upkeep(site, database, chains),
        )
        callbacks = _callbacks(site, database, chains, suppressions)
        http = HttpServer(build(health, site.metrics, lambda: self._ready, CallbackRoutes(callbacks).routes()))
        http_port = await http.start(gateway.http_address)
        site.running.push_async_callback(http.stop)
        silences = run_silences(site, database, chains, suppressions)
        senders = build_senders(site, chains, message_log, requests, suppressions, silences)
        watcher = Watcher(message_log)
        servicers = Servicers(
            messaging=MessagingServicer(
                emails=senders.emails,
                texts=senders.texts,
                email_reader=EmailReader(gateway.default_sender, gateway.max_attachment_bytes, templates),
                templates=templates,
                message_log=message_log,
                health=health,
                watcher=watcher,
            ),
            otp=OtpServicer(otps.build_otps(site, otp_store, peppers, templates, senders)),
            templates=TemplateServicer(templates),
            admin=AdminServicer(
                message_log,
                AccountsReader(chains.providers, clock=site.clock),
                costs.build_reader(site, database),
            ),
            suppressions=SuppressionServicer(suppressions),
            webhooks=run_webhooks(site, database),
        )
        self._grpc = GrpcServer(servicers, health, limits=_limits(gateway), tracing=site.tracing, metrics=site.metrics)
        site.running.push_async_callback(self._grpc.stop, gateway.shutdown_grace_seconds)
        site.run(watcher)
        grpc_port = await self._grpc.start(gateway.grpc_address)
        return Endpoints(
            grpc=_with_port(gateway.grpc_address, grpc_port), http=_with_port(gateway.http_address, http_port)
        )


async def run(config: Config) -> None:
    """Runs a gateway until SIGTERM or Ctrl-C."""
    gateway = Gateway(config)
    stopped = _stop_signals()
    endpoints = await gateway.start()
    log.info(
        "serving",
        grpc=endpoints.grpc,
        http=endpoints.http,
        providers=[f"{p.kind.channel}: {p.kind.name}" for p in config.providers],
    )
    received = await stopped
    # Whoever presses Ctrl-C has no load balancer to wait for.
    delay = 0.0 if received is signal.SIGINT else config.gateway.shutdown_delay_seconds
    log.info("stopping", signal=received.name)
    await gateway.stop(delay=delay)
    log.info("stopped")


def _stop_signals() -> asyncio.Future[signal.Signals]:
    """The first signal that asks for an end."""
    loop = asyncio.get_running_loop()
    received: asyncio.Future[signal.Signals] = loop.create_future()

    def note(number: signal.Signals) -> None:
        if not received.done():
            received.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, note, number)
    return received


def _callbacks(site: Site, database: Database, chains: Chains, suppressions: Suppressions) -> Callbacks:
    deliveries = PostgresDeliveries(database, site.config.gateway.suppress)
    site.run(Matcher(deliveries))
    run_look_ups(site, database, deliveries, chains)
    readers = [p for p in chains.providers if isinstance(p, CallbackReader)]
    return Callbacks(readers, deliveries, site.metrics, suppressions)


def _limits(gateway: GatewaySettings) -> ServerLimits:
    return ServerLimits(
        request_bytes=gateway.max_request_bytes,
        concurrent_streams=gateway.max_concurrent_streams,
        concurrent_calls=gateway.max_concurrent_calls,
        pending_calls=gateway.max_pending_calls,
    )


def _with_port(address: str, port: int) -> str:
    """The address with the port that was given to it."""
    return f"{address.rpartition(':')[0]}:{port}"
