"""Builds the gateway and runs it: the only file that knows every room."""

import asyncio
import gc
import signal
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import structlog

from relaypost_server.api.admin import AdminServicer
from relaypost_server.api.emails import EmailReader
from relaypost_server.api.messaging import MessagingServicer
from relaypost_server.api.otp import OtpServicer
from relaypost_server.api.server import GrpcServer, ServerLimits, Servicers
from relaypost_server.api.templates import TemplateServicer
from relaypost_server.config import ChosenProvider, Config, GatewaySettings, WithoutDatabase
from relaypost_server.core.breaker import Breaker
from relaypost_server.core.message import Channel, Email, Sms
from relaypost_server.core.otp_codes import Peppers
from relaypost_server.core.ports import CallbackReader, MessageLog
from relaypost_server.core.retry_budget import RetryBudget
from relaypost_server.flow.callbacks import Callbacks, Matcher
from relaypost_server.flow.chain import Chain, Link
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.dispatch import Dispatcher
from relaypost_server.flow.health import HealthReader
from relaypost_server.flow.otp import METHOD, Otps
from relaypost_server.flow.otp_messages import OtpComposer
from relaypost_server.flow.otp_upkeep import OtpUpkeep
from relaypost_server.flow.requests import Recovery, Requests, Terms
from relaypost_server.flow.send import Sender
from relaypost_server.flow.watch import Watcher
from relaypost_server.store.database import Database
from relaypost_server.store.deliveries import PostgresDeliveries
from relaypost_server.store.embedded import EmbeddedPostgres
from relaypost_server.store.messages import PostgresLog
from relaypost_server.store.otp import PostgresOtps
from relaypost_server.store.pepper import own_pepper
from relaypost_server.store.requests import PostgresRequests
from relaypost_server.store.spool import Spool
from relaypost_server.telemetry.metrics import Metrics
from relaypost_server.telemetry.tracing import Tracing
from relaypost_server.templates.check import open_templates
from relaypost_server.templates.render import Templates
from relaypost_server.web.app import HttpServer, build
from relaypost_server.web.callbacks import CallbackRoutes

DEFAULT_APP = "Relaypost"
"""The product's name in the messages of gateways that know no other."""
DRAIN_SECONDS = 0.3
"""For attempts that outlived the grace of the calls they belong to."""

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
        self._clock = Clock()
        self._metrics = Metrics()
        self._ready = False
        self._running = AsyncExitStack()
        """What has been started, to be stopped in the opposite order."""

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
        peppers = await asyncio.to_thread(self._peppers)
        url = await self._database_url()
        self._tracing = Tracing.from_environment()
        self._running.push_async_callback(asyncio.to_thread, self._tracing.stop)
        database = await self._database(url)
        message_log = PostgresLog(database)
        requests = await self._requests(database)
        providers = [(chosen, chosen.build()) for chosen in self._config.providers]
        for _, provider in providers:
            self._running.push_async_callback(provider.close)
        emails: Chain[Email] = self._chain(Channel.EMAIL, providers)
        texts: Chain[Sms] = self._chain(Channel.SMS, providers)
        otp_store = PostgresOtps(database, self._config.otp.policy, method=METHOD)
        upkeep = self._otp_upkeep(otp_store)
        health = HealthReader([emails, texts], message_log, requests_without_log=requests.without_log, otps=upkeep)
        callbacks = self._callbacks(database, [provider for _, provider in providers])
        http = HttpServer(build(health, self._metrics, lambda: self._ready, CallbackRoutes(callbacks).routes()))
        http_port = await http.start(gateway.http_address)
        self._running.push_async_callback(http.stop)
        senders = self._sender(emails, message_log, requests), self._sender(texts, message_log, requests)
        watcher = Watcher(message_log)
        servicers = Servicers(
            messaging=MessagingServicer(
                emails=senders[0],
                texts=senders[1],
                email_reader=EmailReader(gateway.default_sender, gateway.max_attachment_bytes, templates),
                templates=templates,
                message_log=message_log,
                health=health,
                watcher=watcher,
            ),
            otp=OtpServicer(self._otps(otp_store, peppers, templates, *senders)),
            templates=TemplateServicer(templates),
            admin=AdminServicer(message_log),
        )
        self._grpc = GrpcServer(
            servicers,
            health,
            limits=_limits(gateway),
            tracing=self._tracing,
            metrics=self._metrics,
        )
        self._running.push_async_callback(self._grpc.stop, gateway.shutdown_grace_seconds)
        watcher.start()
        self._running.push_async_callback(watcher.stop)
        grpc_port = await self._grpc.start(gateway.grpc_address)
        return Endpoints(
            grpc=_with_port(gateway.grpc_address, grpc_port), http=_with_port(gateway.http_address, http_port)
        )

    async def _database_url(self) -> str:
        gateway = self._config.gateway
        if gateway.database_url:
            return gateway.database_url.get_secret_value()
        # First of all: gRPC does not like processes that fork after it began.
        embedded = EmbeddedPostgres(gateway.data_dir)
        self._running.push_async_callback(embedded.stop)
        await embedded.start()
        return embedded.url

    async def _database(self, url: str) -> Database:
        gateway = self._config.gateway
        spool = await asyncio.to_thread(_open_spool, gateway)
        database = Database(url, spool, auto_migrate=gateway.auto_migrate, metrics=self._metrics)
        await database.start()
        self._running.push_async_callback(database.stop)
        return database

    async def _requests(self, database: Database) -> Requests:
        gateway = self._config.gateway
        log_of_requests = PostgresRequests(database, lease=gateway.lease_seconds)
        recovery = Recovery(log_of_requests, retention=gateway.request_retention_hours * 3600, clock=self._clock)
        recovery.start()
        self._running.push_async_callback(recovery.stop)
        terms = Terms(
            lease=gateway.lease_seconds,
            without_log=gateway.keyed_without_database is WithoutDatabase.SEND,
            clock=self._clock,
        )
        return Requests(log_of_requests, terms, self._metrics)

    def _callbacks(self, database: Database, providers: Iterable[Any]) -> Callbacks:
        deliveries = PostgresDeliveries(database)
        matcher = Matcher(deliveries)
        matcher.start()
        self._running.push_async_callback(matcher.stop)
        return Callbacks([p for p in providers if isinstance(p, CallbackReader)], deliveries, self._metrics)

    def _peppers(self) -> Peppers:
        otp, gateway = self._config.otp, self._config.gateway
        if otp.pepper is not None:
            return Peppers(otp.pepper.get_secret_value(), otp.earlier_peppers)
        if gateway.database_url:
            log.warning("codes can be verified by this gateway alone: RELAYPOST_OTP_PEPPER is not set")
        return Peppers(own_pepper(gateway.data_dir), otp.earlier_peppers)

    def _otp_upkeep(self, store: PostgresOtps) -> OtpUpkeep:
        gateway, otp = self._config.gateway, self._config.otp
        kept = max(gateway.request_retention_hours, otp.conversion_hours) * 3600 + otp.policy.block_seconds
        upkeep = OtpUpkeep(store, retention=kept, window=otp.conversion_hours * 3600, metrics=self._metrics)
        upkeep.start()
        self._running.push_async_callback(upkeep.stop)
        return upkeep

    def _otps(
        self, store: PostgresOtps, peppers: Peppers, templates: Templates, emails: Sender[Email], texts: Sender[Sms]
    ) -> Otps:
        gateway, otp = self._config.gateway, self._config.otp
        app = otp.app or gateway.from_name or DEFAULT_APP
        return Otps(
            store,
            peppers,
            otp.policy,
            OtpComposer(templates, sender=gateway.default_sender, app=app),
            emails=emails,
            texts=texts,
            metrics=self._metrics,
            clock=self._clock,
        )

    def _chain(self, channel: Channel, providers: Iterable[tuple[ChosenProvider, Any]]) -> Chain[Any]:
        return Chain(channel, [self._link(c, p) for c, p in providers if p.channel is channel])

    def _link(self, chosen: ChosenProvider, provider: Any) -> Link[Any]:
        return Link(
            provider,
            priority=chosen.settings.priority,
            timeout=chosen.settings.timeout_seconds,
            breaker=Breaker(chosen.settings.breaker_policy()),
            window=chosen.settings.breaker_rate_seconds,
            metrics=self._metrics,
            clock=self._clock,
        )

    def _sender(self, chain: Chain[Any], message_log: MessageLog, requests: Requests) -> Sender[Any]:
        gateway = self._config.gateway
        retries = RetryBudget(gateway.retry_ratio)
        dispatcher = Dispatcher(chain, limits=gateway.limits, retries=retries, tracing=self._tracing, clock=self._clock)
        sender: Sender[Any] = Sender(
            dispatcher, message_log, requests, limits=gateway.limits, metrics=self._metrics, clock=self._clock
        )
        self._running.push_async_callback(sender.drain, seconds=DRAIN_SECONDS)
        return sender


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


def _open_spool(gateway: GatewaySettings) -> Spool:
    try:
        return Spool.open(gateway.spool, max_bytes=gateway.spool_max_bytes)
    except OSError as error:
        fix = "set RELAYPOST_SPOOL_DIR to a directory of yours"
        raise OSError(f"cannot write the spool in {gateway.spool} ({error.strerror}): {fix}") from error


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
