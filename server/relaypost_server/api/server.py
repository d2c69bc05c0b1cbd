"""The gRPC server: its services, its limits."""

import asyncio
from dataclasses import dataclass
from typing import cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from relaypost.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    messaging_service_pb2,
    messaging_service_pb2_grpc,
    otp_service_pb2,
    otp_service_pb2_grpc,
    queue_service_pb2,
    queue_service_pb2_grpc,
    suppression_service_pb2,
    suppression_service_pb2_grpc,
    template_service_pb2,
    template_service_pb2_grpc,
    webhook_service_pb2,
    webhook_service_pb2_grpc,
)

from relaypost_server.api.admin import AdminServicer
from relaypost_server.api.edge import Edge
from relaypost_server.api.health_service import HealthService
from relaypost_server.api.messaging import MessagingServicer
from relaypost_server.api.otp import OtpServicer
from relaypost_server.api.queue import QueueServicer
from relaypost_server.api.suppressions import SuppressionServicer
from relaypost_server.api.templates import TemplateServicer
from relaypost_server.api.webhooks import WebhookServicer
from relaypost_server.flow.background import BackgroundTasks
from relaypost_server.flow.health import HealthReader
from relaypost_server.telemetry.metrics import Metrics
from relaypost_server.telemetry.tracing import Tracing

LAST_WORD_SECONDS = 0.2
"""For cancelled calls to send their status before the server stops."""
FOREVER = 24 * 3600.0
"""A grace in seconds that never ends by itself: `Shutdown` ends it."""
LARGEST_METADATA = 16 * 1024
"""Bytes of a call's headers; more is refused by the transport."""

HANDSHAKE_MS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What the transport takes on before it refuses."""

    request_bytes: int
    connections: int = 1000
    concurrent_streams: int
    concurrent_calls: int
    pending_calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Servicers:
    """The services of the gateway."""

    messaging: MessagingServicer
    otp: OtpServicer
    templates: TemplateServicer
    admin: AdminServicer
    suppressions: SuppressionServicer
    queue: QueueServicer
    webhooks: WebhookServicer


_FILES = (
    messaging_service_pb2,
    otp_service_pb2,
    template_service_pb2,
    admin_service_pb2,
    suppression_service_pb2,
    queue_service_pb2,
    webhook_service_pb2,
)


class GrpcServer:
    """Serves every service of the gateway on one port."""

    def __init__(
        self,
        servicers: Servicers,
        health: HealthReader,
        *,
        limits: ServerLimits,
        tracing: Tracing,
        metrics: Metrics,
        tasks: BackgroundTasks,
    ) -> None:
        """`tasks`: the registry of background tasks."""
        services = [s.full_name for file in _FILES for s in file.DESCRIPTOR.services_by_name.values()]
        self._health = HealthService(health, services)
        self._tasks = tasks
        self._server = grpc.aio.server(
            options=_options(limits),
            maximum_concurrent_rpcs=limits.concurrent_calls,
        )
        around = Edge(self._server, tracing=tracing, metrics=metrics)
        self._in_flight = around.in_flight
        edge = cast(grpc.aio.Server, around)
        messaging_service_pb2_grpc.add_MessagingServiceServicer_to_server(servicers.messaging, edge)
        otp_service_pb2_grpc.add_OtpServiceServicer_to_server(servicers.otp, edge)
        template_service_pb2_grpc.add_TemplateServiceServicer_to_server(servicers.templates, edge)
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(servicers.admin, edge)
        suppression_service_pb2_grpc.add_SuppressionServiceServicer_to_server(servicers.suppressions, edge)
        queue_service_pb2_grpc.add_QueueServiceServicer_to_server(servicers.queue, edge)
        webhook_service_pb2_grpc.add_WebhookServiceServicer_to_server(servicers.webhooks, edge)
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, edge)
        names = [*services, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME]
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(  # type: ignore[no-untyped-call]
            reflection.aio.ReflectionServicer(names), edge
        )

    async def start(self, address: str) -> int:
        """Serves on host:port; the port in use. Raises OSError where it cannot."""
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:  # gRPC logs the cause itself.
            raise OSError(f"cannot listen on {address}") from error
        await self._server.start()
        await self._health.begin(self._tasks)
        return port

    async def turn_away(self) -> None:
        """Tells health checks that this gateway is about to stop."""
        await self._health.stop()

    async def drain(self) -> None:
        """Takes no new calls, ends streams, and waits for the calls in flight.

        On cancellation, ends the remaining calls with SHUTTING_DOWN, in place of gRPC's bare UNAVAILABLE.
        """
        stopping = asyncio.create_task(self._server.stop(FOREVER))
        self._in_flight.streams.end()
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            self._in_flight.calls.end()
            await asyncio.wait([stopping], timeout=LAST_WORD_SECONDS)
            stopping.cancel()
            await self.stop(None)
            raise

    def cut_off(self) -> None:
        """Does nothing: senders cut off the attempts, which ends the calls."""

    async def stop(self, grace: float | None) -> None:
        """Takes no new calls and waits up to `grace` seconds for those in flight."""
        await self._server.stop(grace)


def _options(limits: ServerLimits) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", limits.request_bytes),
        ("grpc.max_send_message_length", limits.request_bytes),
        ("grpc.max_metadata_size", LARGEST_METADATA),
        ("grpc.max_concurrent_streams", limits.concurrent_streams),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        # A peer that connects and speaks no HTTP/2 holds a descriptor no longer than this.
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.server.max_pending_requests", limits.pending_calls),
        # From the limit on a growing part of new calls is refused, and all of them at the hard limit. The transport
        # does that outside of Python: a refusal by a handler would cost as much as a bare call.
        ("grpc.server.max_pending_requests_hard_limit", limits.pending_calls * 3 // 2),
        # A connection whose peer vanished is noticed within 80 s, and clients
        # may ping every 10 s: load balancers cut connections that are quiet.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        # Two gateways on one port would share its connections unnoticed.
        ("grpc.so_reuseport", 0),
    ]
