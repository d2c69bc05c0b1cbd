"""Spans, all the way through a real collector."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import rotel
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2
from relaypost.v1 import messaging_service_pb2_grpc

from tests import peers
from tests.api.test_validation import email
from tests.e2e.gateway import AWS_KEYS, gateway
from tests.fakes.http import answer, fake_http

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Sink(trace_service_pb2_grpc.TraceServiceServicer):
    """Where the collector forwards what it was sent."""

    def __init__(self) -> None:
        self.batches: list[trace_pb2.ResourceSpans] = []

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.batches += request.resource_spans
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[trace_pb2.Span]:
        return [span for batch in self.batches for scope in batch.scope_spans for span in scope.spans]


@contextlib.contextmanager
def collector(sink: str, folder: Path) -> Iterator[tuple[str, str]]:
    """A rotel that forwards to `sink`; its addresses for OTLP over gRPC and over HTTP."""
    agent = Path(str(rotel.__file__)).parent / "rotel-agent"
    if subprocess.run([agent, "--version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("the rotel collector does not run on this machine (it needs libpython3.11)")
    ports = peers.free_port(), peers.free_port()
    addresses = f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}"
    command = [str(agent), "start", "--otlp-grpc-endpoint", addresses[0], "--otlp-http-endpoint", addresses[1]]
    command += ["--exporter", "otlp", "--otlp-exporter-endpoint", f"http://{sink}", "--batch-timeout", "100ms"]
    with peers.running(command, port=ports[0], log=folder / "rotel.log"):
        yield addresses


@pytest.fixture
async def sink() -> AsyncIterator[tuple[Sink, str]]:
    server, servicer = grpc.aio.server(), Sink()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(0)


def attributes(span: trace_pb2.Span) -> dict[str, Any]:
    return {a.key: getattr(a.value, str(a.value.WhichOneof("value"))) for a in span.attributes}


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_a_failover_arrives_at_the_collector_as_one_trace(
    protocol: str, sink: tuple[Sink, str], bundled_database: str, tmp_path: Path
) -> None:
    received, address = sink
    with collector(address, tmp_path) as (over_grpc, over_http):
        environ = {
            **AWS_KEYS,
            "RELAYPOST_CONSOLE_BESIDE_REAL": "true",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{over_grpc if protocol == 'grpc' else over_http}",
            "OTEL_SERVICE_NAME": "mail-gateway",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        fault = answer(503, b"{}", x_amzn_errortype="ServiceUnavailableException")
        async with fake_http(fault) as ses:
            environ["RELAYPOST_SES_ENDPOINT"] = ses.url
            async with gateway(environ, database=bundled_database) as running:
                async with grpc.aio.insecure_channel(running.grpc) as channel:
                    stub: Any = messaging_service_pb2_grpc.MessagingServiceStub(channel)
                    parent = (("traceparent", f"00-{TRACE}-{PARENT}-01"),)
                    message = (await stub.SendEmail(email(), metadata=parent)).message
                assert await running.stop() == 0
        async with asyncio.timeout(10):
            while len(received.spans) < 3:
                await asyncio.sleep(0.05)
    spans = {span.name: span for span in received.spans}
    server = spans["relaypost.v1.MessagingService/SendEmail"]
    assert {span.trace_id.hex() for span in received.spans} == {TRACE}
    assert server.parent_span_id.hex() == PARENT
    assert {spans[n].parent_span_id for n in ("send ses", "send console")} == {server.span_id}
    assert attributes(spans["send ses"]) == {
        "relaypost.provider": "ses",
        "relaypost.channel": "email",
        "relaypost.attempt.number": 1,
        "relaypost.circuit.state": "closed",
        "relaypost.message.id": message.message_id,
        "relaypost.outcome.kind": "faulted",
        "relaypost.outcome.detail": "HTTP 503: SES says that it failed",
        "relaypost.provider.code": "ServiceUnavailableException",
        "relaypost.provider.message_id": "",
    }
    resource = {a.key: a.value.string_value for a in received.batches[0].resource.attributes}
    assert resource["service.name"] == "mail-gateway"
    shown = str(received.batches)
    for secret in ("ada@example.com", "Hello", *AWS_KEYS.values()):
        assert secret not in shown or secret in ("true", "us-east-1", "/dev/null")


async def test_what_is_not_sampled_is_not_exported(
    sink: tuple[Sink, str], bundled_database: str, tmp_path: Path
) -> None:
    received, address = sink
    with collector(address, tmp_path) as (over_grpc, _):
        environ = {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{over_grpc}",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.2",
        }
        async with gateway(environ, database=bundled_database) as running:
            async with grpc.aio.insecure_channel(running.grpc) as channel:
                stub: Any = messaging_service_pb2_grpc.MessagingServiceStub(channel)
                for _ in range(5):
                    await asyncio.gather(*(stub.SendEmail(email()) for _ in range(100)))
            assert await running.stop() == 0
        async with asyncio.timeout(20):
            while len(received.spans) <= 50:
                await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)  # For more than there should be.
    calls = [s for s in received.spans if s.name.startswith("relaypost.")]
    assert 50 < len(calls) < 170
