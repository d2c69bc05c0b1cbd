"""grpc.health.v1 and reflection, as their own clients see them."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import capture_logs

from relaypost_server.core.outcome import Kind
from tests.api.conftest import Serve, Served
from tests.api.status import failure_of
from tests.api.test_validation import email
from tests.fakes.providers import FakeProvider, failing

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def status(served: Served, service: str) -> int:
    stub: Any = health_pb2_grpc.HealthStub(served.channel)
    answer: health_pb2.HealthCheckResponse = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    return answer.status


async def test_the_process_each_service_and_each_channel_answer(serve: Serve) -> None:
    served = await serve(texts=[])
    for service in ("", "relaypost.v1.MessagingService", "email"):
        assert await status(served, service) == SERVING
    assert await status(served, "sms") == NOT_SERVING


async def test_a_name_that_nobody_knows_is_no_fault_of_ours(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = await serve()
    stub: Any = health_pb2_grpc.HealthStub(served.channel)
    with capture_logs() as ours:
        failure = await failure_of(stub.Check(health_pb2.HealthCheckRequest(service="nobody")))
    assert failure.code is grpc.StatusCode.NOT_FOUND
    assert (ours, caplog.records) == ([], [])
    assert b'{code="NOT_FOUND",method="grpc.health.v1.Health/Check"} 1.0' in served.emails.metrics.render()


async def test_a_channel_whose_circuits_are_all_open_is_not_serving(serve: Serve) -> None:
    served = await serve([FakeProvider("a", [failing(Kind.UNAUTHORIZED)])])
    stub: Any = health_pb2_grpc.HealthStub(served.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="email"))
    assert (await watch.read()).status == SERVING
    await asyncio.gather(served.stub.SendEmail(email()), return_exceptions=True)
    async with asyncio.timeout(5):
        assert (await watch.read()).status == NOT_SERVING
    watch.cancel()
    assert await status(served, "") == SERVING


async def test_a_server_that_turns_callers_away_is_not_serving(serve: Serve) -> None:
    served = await serve()
    await served.server.turn_away()
    for service in ("", "relaypost.v1.MessagingService", "email", "sms"):
        assert await status(served, service) == NOT_SERVING


async def test_reflection_lists_the_services(serve: Serve) -> None:
    served = await serve()
    channel: Any = served.channel
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    answer = await call.read()
    names = {s.name for s in answer.list_services_response.service}
    assert names >= {"relaypost.v1.MessagingService", "grpc.health.v1.Health"}
    call.cancel()
