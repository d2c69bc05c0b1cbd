"""Spans: one for each call of our API, one for each attempt at a provider.

Configured by the OTEL_* variables of the OpenTelemetry specification. Without a
collector the exporter drops what it cannot deliver; a send never waits for it.
"""

import os
import threading
from collections.abc import Iterable, Mapping
from typing import Self

from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import NonRecordingSpan, Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.failover import Attempt
from relaypost_server.core.message import Channel
from relaypost_server.core.outcome import Kind
from relaypost_server.telemetry.sampling import Lottery

EXPORTER = "OTEL_TRACES_EXPORTER"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
TRACES_PROTOCOL = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
FLUSH_SECONDS = 0.7
"""How long the shutdown waits for a collector that does not answer."""

_NO_PARENT = Context()


class TracingError(Exception):
    """The OTEL_* settings ask for what there is not."""


class Tracing:
    """Records and exports the spans of one gateway."""

    def __init__(self, provider: TracerProvider | None = None, lottery: Lottery | None = None) -> None:
        """Without a provider nothing is recorded. `lottery`: draws the provider's ids."""
        self._provider = provider
        self._lottery = lottery
        self._tracer: trace.Tracer = provider.get_tracer("relaypost") if provider else trace.NoOpTracer()
        self._propagated = propagate.get_global_textmap().fields
        """The metadata keys in which a caller's trace may travel; OTEL_PROPAGATORS chooses them."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """As the OTEL_* variables say. Raises TracingError."""
        resource = Resource.create()
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "relaypost"}))
        lottery = Lottery.from_environment(environ)
        provider = TracerProvider(resource=resource, shutdown_on_exit=False, id_generator=lottery)
        exporter = _exporter(environ)
        if exporter is not None:
            provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider, lottery)

    def stop(self) -> None:
        """Exports what is left, for at most FLUSH_SECONDS; blocking."""
        if self._provider is not None:
            flush = threading.Thread(target=self._provider.shutdown, name="flush-spans", daemon=True)
            flush.start()
            flush.join(FLUSH_SECONDS)

    def begin_call(self, method: str, metadata: Iterable[tuple[str, str | bytes]] | None) -> "CallSpan":
        """Starts the span of a call of our API, in the trace of its caller."""
        carrier = {key: value for key, value in metadata or () if key in self._propagated}
        left_out = self._lottery.draw() if self._lottery and not carrier else None
        if left_out is not None:
            return CallSpan(NonRecordingSpan(left_out))
        parent = propagate.extract(carrier) if carrier else _NO_PARENT
        attributes = {"rpc.system.name": "grpc", "rpc.method": method}
        return CallSpan(self._tracer.start_span(method, parent, SpanKind.SERVER, attributes))

    def begin_attempt(
        self, provider: str, *, channel: Channel, number: int, circuit: CircuitState, message_id: str
    ) -> "AttemptSpan":
        """Starts the span of an attempt. `number` counts from 1, skips included."""
        parent = trace.get_current_span()
        if parent.get_span_context().is_valid and not parent.is_recording():
            return _UNRECORDED
        attributes: dict[str, AttributeValue] = {
            "relaypost.provider": provider,
            "relaypost.channel": channel.value,
            "relaypost.attempt.number": number,
            "relaypost.circuit.state": circuit.value,
            "relaypost.message.id": message_id,
        }
        return AttemptSpan(self._tracer.start_span(f"send {provider}", None, SpanKind.CLIENT, attributes))


class CallSpan:
    """The span of one call, current until it ends."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span
        self._token = context.attach(trace.set_span_in_context(span, _NO_PARENT))

    def note(self, code: str, *, failed: bool) -> None:
        """The gRPC status; `failed` where the server, not the caller, is at fault."""
        if self._span.is_recording():
            self._span.set_attribute("rpc.response.status_code", code)
            if failed:
                self._span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        context.detach(self._token)
        self._span.end()


class AttemptSpan:
    """The span of one attempt, or nothing at all where the trace is not recorded."""

    __slots__ = ("_span",)

    def __init__(self, span: Span | None) -> None:
        self._span = span

    def end(self, attempt: Attempt) -> None:
        if self._span is None:
            return
        outcome = attempt.outcome
        self._span.set_attributes(
            {
                "relaypost.outcome.kind": outcome.kind.value,
                "relaypost.outcome.detail": outcome.detail,
                "relaypost.provider.code": outcome.provider_code,
                "relaypost.provider.message_id": outcome.provider_message_id,
            }
        )
        if outcome.kind is not Kind.ACCEPTED:
            self._span.set_status(Status(StatusCode.ERROR, outcome.kind.value))
        self._span.end()


_UNRECORDED = AttemptSpan(None)


def note_skip(attempt: Attempt) -> None:
    """Marks in the current span that a provider was passed over."""
    span = trace.get_current_span()
    if span.is_recording():
        attributes: dict[str, AttributeValue] = {
            "relaypost.provider": attempt.provider,
            "relaypost.circuit.state": attempt.circuit.value,
            "relaypost.skip.reason": attempt.outcome.detail,
        }
        span.add_event("provider skipped", attributes)


def _exporter(environ: Mapping[str, str]) -> SpanExporter | None:
    wanted = environ.get(EXPORTER) or "otlp"
    match wanted:
        case "none":
            return None
        case "console":
            return ConsoleSpanExporter()
        case "otlp":
            return _otlp_exporter(environ.get(TRACES_PROTOCOL) or environ.get(PROTOCOL) or "grpc")
    raise TracingError(f"{EXPORTER} is {wanted!r}; set it to otlp, console or none")


def _otlp_exporter(protocol: str) -> SpanExporter:
    # Imported here: each brings in a transport that the other one does not need.
    match protocol:
        case "grpc":
            from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as over_grpc  # noqa: PLC0415

            return over_grpc.OTLPSpanExporter()
        case "http/protobuf":
            from opentelemetry.exporter.otlp.proto.http import trace_exporter as over_http  # noqa: PLC0415

            return over_http.OTLPSpanExporter()
    raise TracingError(f"{PROTOCOL} is {protocol!r}; set it to grpc or http/protobuf")
