"""A gRPC server over a real socket, with fake providers behind it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from relaypost.v1 import messaging_service_pb2_grpc

from relaypost_server.addresses.phones import load_numbering_plans
from relaypost_server.api.admin import AdminServicer
from relaypost_server.api.emails import EmailReader
from relaypost_server.api.messaging import MessagingServicer
from relaypost_server.api.otp import OtpServicer
from relaypost_server.api.server import GrpcServer, ServerLimits, Servicers
from relaypost_server.api.suppressions import SuppressionServicer
from relaypost_server.api.templates import TemplateServicer
from relaypost_server.api.webhooks import WebhookServicer
from relaypost_server.core.budgets import Budgets
from relaypost_server.core.message import Address, Channel
from relaypost_server.core.otp import OtpPolicy
from relaypost_server.core.ports import OtpStore
from relaypost_server.core.tariffs import Tariff
from relaypost_server.flow.accounts import AccountsReader
from relaypost_server.flow.background import BackgroundTasks
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.costs import CostReader
from relaypost_server.flow.health import HealthReader
from relaypost_server.flow.suppressions import Suppressions
from relaypost_server.flow.watch import Watcher
from tests.fakes import queue
from tests.fakes.costs import FakeCosts
from tests.fakes.otp import NoOtps, built_in, otps
from tests.fakes.providers import FakeClock, FakeProvider, Rig
from tests.fakes.suppressions import without_database
from tests.fakes.webhooks import webhooks_without_database

LIMITS = ServerLimits(request_bytes=64 * 1024 * 1024, concurrent_streams=1000, concurrent_calls=2000, pending_calls=250)


@dataclass
class Served:
    """A running server, and a stub that talks to it."""

    target: str
    stub: "messaging_service_pb2_grpc.MessagingServiceAsyncStub"
    channel: grpc.aio.Channel
    server: GrpcServer
    emails: Rig
    texts: Rig
    watcher: Watcher


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    started: list[Served] = []
    load_numbering_plans()  # As a gateway does that has begun to serve.
    templates = built_in()

    async def start(
        emails: list[FakeProvider] | None = None,
        texts: list[FakeProvider] | None = None,
        default_sender: Address | None = None,
        otp_store: OtpStore | None = None,
        otp_policy: OtpPolicy | None = None,
        suppressions: Suppressions | None = None,
        accounts: Sequence[Any] = (),
        costs: FakeCosts | None = None,
        tariffs: Sequence[Tariff] = (),
        clock: FakeClock | None = None,
        budgets: Budgets | None = None,
        webhooks: WebhookServicer | None = None,
    ) -> Served:
        email_rig = Rig(emails if emails is not None else [FakeProvider("a")], screen=suppressions)
        text_providers = texts if texts is not None else [FakeProvider("t", channel=Channel.SMS)]
        text_rig = Rig(text_providers, Channel.SMS, screen=suppressions, budgets=budgets)
        text_rig.log = email_rig.log
        watcher = Watcher(email_rig.log)
        health = HealthReader([email_rig.chain, text_rig.chain], email_rig.log)
        sender = default_sender or Address(email="noreply@example.com")
        email_reader = EmailReader(sender, 20 * 1024 * 1024, templates)
        servicers = Servicers(
            messaging=MessagingServicer(
                emails=email_rig.sender,
                texts=text_rig.sender,
                email_reader=email_reader,
                templates=templates,
                message_log=email_rig.log,
                health=health,
                watcher=watcher,
            ),
            otp=OtpServicer(
                otps(otp_store or NoOtps(), email_rig, text_rig, templates, otp_policy or OtpPolicy(), sender)
            ),
            templates=TemplateServicer(templates),
            suppressions=SuppressionServicer(suppressions or without_database()),
            queue=queue.without_database(email_rig.log, email_reader, templates),
            admin=AdminServicer(
                email_rig.log,
                AccountsReader(accounts, clock=Clock()),
                CostReader(costs or FakeCosts(), tariffs, clock=(clock or FakeClock()).clock()),
            ),
            webhooks=webhooks or webhooks_without_database(),
        )
        watcher.start()
        server = GrpcServer(
            servicers,
            health,
            limits=LIMITS,
            tracing=email_rig.tracing,
            metrics=email_rig.metrics,
            tasks=BackgroundTasks(),
        )
        target = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
        channel = grpc.aio.insecure_channel(target, options=[("grpc.max_send_message_length", 128 * 1024 * 1024)])
        stub = messaging_service_pb2_grpc.MessagingServiceStub(channel)
        started.append(Served(target, stub, channel, server, email_rig, text_rig, watcher))
        return started[-1]

    yield start
    for served in started:
        await served.channel.close()
        await served.watcher.stop()
        await served.server.turn_away()
        await served.server.stop(0)
