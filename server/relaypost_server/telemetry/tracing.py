"""Spans: one for each call of our API, one for each attempt at a provider.

Configured by the OTEL_* variables of the OpenTelemetry specification. Without a
collector the exporter drops what it cannot deliver; a send never waits for it.
"""

import os
import threading
from collections.abc import Iterable, Mapping
from typing import Self

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Tracer, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import SpanContext, SpanKind

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.failover import Attempt
from relaypost_server.core.message import Channel
from relaypost_server.core.outcome import Kind
from relaypost_server.telemetry.current import CALL
from relaypost_server.telemetry.sampling import Lottery
from relaypost_server.telemetry.spans import RecordedSpan, Recorder, Values

EXPORTER = "OTEL_TRACES_EXPORTER"
SCOPE = "relaypost"
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
        tracer = provider.get_tracer(SCOPE) if provider else None
        # With OTEL_SDK_DISABLED the tracer is none of the SDK's.
        self._recorder = Recorder(tracer, SCOPE) if isinstance(tracer, Tracer) else None
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
        if left_out is not None or self._recorder is None:
            return CallSpan(left_out)
        parent = propagate.extract(carrier) if carrier else _NO_PARENT
        attributes: Values = {"rpc.system.name": "grpc", "rpc.method": method}
        return CallSpan(*self._recorder.begin(method, SpanKind.SERVER, attributes, parent))

    def begin_attempt(
        self, provider: str, *, channel: Channel, number: int, circuit: CircuitState, message_id: str
    ) -> "AttemptSpan":
        """Starts the span of an attempt. `number` counts from 1, skips included."""
        call = CALL.get()
        if self._recorder is None or (call is not None and call.recorded is None):
            return _UNRECORDED
        attributes: Values = {
            "relaypost.provider": provider,
            "relaypost.channel": channel.value,
            "relaypost.attempt.number": number,
            "relaypost.circuit.state": circuit.value,
            "relaypost.message.id": message_id,
        }
        name = f"send {provider}"
        if call is not None and call.recorded is not None:
            return AttemptSpan(self._recorder.begin_within(call.recorded, name, SpanKind.CLIENT, attributes))
        return AttemptSpan(self._recorder.begin(name, SpanKind.CLIENT, attributes)[1])


class CallSpan:
    """The span of one call, current until it ends; recorded or not."""

    __slots__ = ("_token", "context", "recorded")

    def __init__(self, context: SpanContext | None, recorded: RecordedSpan | None = None) -> None:
        """`context`: its ids, where it has any."""
        self.context = context
        self.recorded = recorded
        self._token = CALL.set(self)

    def note(self, code: str, *, failed: bool) -> None:
        """The gRPC status; `failed` where the server, not the caller, is at fault."""
        if self.recorded is not None:
            self.recorded.attributes["rpc.response.status_code"] = code
            if failed:
                self.recorded.fail()

    def end(self) -> None:
        CALL.reset(self._token)
        if self.recorded is not None:
            self.recorded.end()


class AttemptSpan:
    """The span of one attempt, or nothing at all where the trace is not recorded."""

    __slots__ = ("_span",)

    def __init__(self, span: RecordedSpan | None) -> None:
        self._span = span

    def end(self, attempt: Attempt) -> None:
        if self._span is None:
            return
        outcome = attempt.outcome
        self._span.attributes |= {
            "relaypost.outcome.kind": outcome.kind.value,
            "relaypost.outcome.detail": outcome.detail,
            "relaypost.provider.code": outcome.provider_code,
            "relaypost.provider.message_id": outcome.provider_message_id,
        }
        if outcome.kind is not Kind.ACCEPTED:
            self._span.fail(outcome.kind.value)
        self._span.end()


_UNRECORDED = AttemptSpan(None)


def note_skip(attempt: Attempt) -> None:
    """Marks in the current span that a provider was passed over."""
    call = CALL.get()
    if call is not None and call.recorded is not None:
        attributes: Values = {
            "relaypost.provider": attempt.provider,
            "relaypost.circuit.state": attempt.circuit.value,
            "relaypost.skip.reason": attempt.outcome.detail,
        }
        call.recorded.happened("provider skipped", attributes)


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
            from relaypost_server.telemetry.otlp import OtlpExporter  # noqa: PLC0415

            return OtlpExporter()
        case "http/protobuf":
            from opentelemetry.exporter.otlp.proto.http import trace_exporter as over_http  # noqa: PLC0415

            return over_http.OTLPSpanExporter()
    raise TracingError(f"{PROTOCOL} is {protocol!r}; set it to grpc or http/protobuf")
