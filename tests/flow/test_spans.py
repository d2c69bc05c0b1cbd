"""Spans of ours are to the SDK what its own are."""

from collections.abc import Callable, Iterator

import pytest
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.trace import ReadableSpan, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import SpanKind, Status, StatusCode

from relaypost_server.telemetry.otlp import encode
from relaypost_server.telemetry.spans import Recorder

REMOTE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "vendor=1"}
CALL = {"rpc.system.name": "grpc", "rpc.method": "m"}


class Counting(IdGenerator):
    """The same ids for both."""

    def __init__(self) -> None:
        self._ids: Iterator[int] = iter(range(1, 100))

    def generate_span_id(self) -> int:
        return next(self._ids)

    def generate_trace_id(self) -> int:
        return next(self._ids)

    def is_trace_id_random(self) -> bool:
        return True


def spans_of(write: Callable[[Tracer, Context], None], parent: dict[str, str]) -> tuple[ReadableSpan, ...]:
    provider, exporter = TracerProvider(id_generator=Counting(), shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("relaypost")
    assert isinstance(tracer, Tracer)
    write(tracer, propagate.extract(parent))
    return exporter.get_finished_spans()


def by_the_sdk(tracer: Tracer, parent: Context) -> None:
    call = tracer.start_span("m", parent, SpanKind.SERVER, CALL)
    within = trace.set_span_in_context(call)
    attempt = tracer.start_span("send ses", within, SpanKind.CLIENT, {"number": 1, "provider": "x" * 50})
    call.add_event("provider skipped", {"provider": "ses", "state": "open", "reason": "circuit open"})
    attempt.set_attributes({"cost": 0.5, "late": True})
    attempt.set_status(Status(StatusCode.ERROR, "faulted"))
    attempt.end()
    call.set_attribute("code", "OK")
    call.end()


def by_us(tracer: Tracer, parent: Context) -> None:
    recorder = Recorder(tracer, "relaypost")
    _, call = recorder.begin("m", SpanKind.SERVER, dict(CALL), parent)
    assert call is not None
    attempt = recorder.begin_within(call, "send ses", SpanKind.CLIENT, {"number": 1, "provider": "x" * 50})
    call.happened("provider skipped", {"provider": "ses", "state": "open", "reason": "circuit open"})
    attempt.attributes |= {"cost": 0.5, "late": True}
    attempt.fail("faulted")
    attempt.end()
    call.attributes["code"] = "OK"
    call.end()


def without_times(spans: list[trace_pb2.Span]) -> list[trace_pb2.Span]:
    for span in spans:
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        span.ClearField("start_time_unix_nano")
        span.ClearField("end_time_unix_nano")
        for event in span.events:
            event.ClearField("time_unix_nano")
    return spans


@pytest.mark.parametrize("parent", [{}, REMOTE])
@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "3"},
        {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "2"},
        {"OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "1"},
    ],
)
def test_what_is_recorded_is_what_the_sdk_would_have_recorded(
    parent: dict[str, str], limits: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, limit in limits.items():
        monkeypatch.setenv(name, limit)
    theirs, ours = (
        without_times(list(encode_spans(spans_of(write, parent)).resource_spans[0].scope_spans[0].spans))
        for write in (by_the_sdk, by_us)
    )
    assert ours == theirs


@pytest.mark.parametrize("parent", [{}, REMOTE])
@pytest.mark.parametrize("limit", ["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"])
@pytest.mark.parametrize("most", ["1", "128"])
def test_what_is_exported_is_what_the_sdk_would_have_exported(
    parent: dict[str, str], limit: str, most: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(limit, most)
    for write in (by_the_sdk, by_us):
        spans = spans_of(write, parent) * 2
        assert encode(spans) == encode_spans(spans)
