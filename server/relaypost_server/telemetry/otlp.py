"""OTLP over gRPC, with the spans encoded in under half the time that the SDK's encoder takes.

That one builds each attribute, each list and each span as a message of its own
and copies it into the next; here they are filled where they stand.
"""

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue

_KINDS = {kind: trace_pb2.Span.SpanKind.Value(f"SPAN_KIND_{kind.name}") for kind in SpanKind}
_STATUSES = {code: trace_pb2.Status.StatusCode.Value(f"STATUS_CODE_{code.name}") for code in StatusCode}


class OtlpExporter(OTLPSpanExporter):
    """The SDK's exporter, but for how it encodes."""

    def _translate_data(self, data: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        return encode(data)


def encode(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
    """The spans of one tracer, without links, with attributes that are text, bool, int or float.

    The first one, and with it the resource, is left to the SDK.
    """
    request = encode_spans(spans[:1])
    add = request.resource_spans[0].scope_spans[0].spans.add
    for span in spans[1:]:
        _fill(add(), span)
    return request


def _fill(packed: trace_pb2.Span, span: ReadableSpan) -> None:
    context, parent = span.context, span.parent
    packed.trace_id = context.trace_id.to_bytes(16)
    packed.span_id = context.span_id.to_bytes(8)
    if context.trace_state:
        packed.trace_state = context.trace_state.to_header()
    if parent is not None:
        packed.parent_span_id = parent.span_id.to_bytes(8)
    packed.flags = _flags(parent)
    packed.name = span.name
    packed.kind = _KINDS[span.kind]
    packed.start_time_unix_nano = span.start_time or 0
    packed.end_time_unix_nano = span.end_time or 0
    for key, value in (span.attributes or {}).items():
        _fill_attribute(packed.attributes.add(), key, value)
    packed.dropped_attributes_count = span.dropped_attributes
    for event in span.events:
        noted = packed.events.add(name=event.name, time_unix_nano=event.timestamp)
        noted.dropped_attributes_count = event.dropped_attributes
        for key, value in (event.attributes or {}).items():
            _fill_attribute(noted.attributes.add(), key, value)
    packed.status.code = _STATUSES[span.status.status_code]
    if span.status.description:
        packed.status.message = span.status.description


def _flags(parent: SpanContext | None) -> int:
    """Whether the parent is of another process (opentelemetry.proto.trace.v1.SpanFlags)."""
    known = trace_pb2.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
    return known | trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK if parent and parent.is_remote else known


def _fill_attribute(packed: common_pb2.KeyValue, key: str, value: AttributeValue) -> None:
    packed.key = key
    match value:
        case str():
            packed.value.string_value = value
        case bool():
            packed.value.bool_value = value
        case int():
            packed.value.int_value = value
        case float():
            packed.value.double_value = value
        case _:
            raise TypeError(f"{key} is a {type(value).__name__}")
