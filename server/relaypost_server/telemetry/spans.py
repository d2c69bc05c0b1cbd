"""Spans while they are recorded.

The SDK's own are made for any number of threads and for attributes of any kind:
one takes as long to make as all the decisions of a send. These belong to the
event loop, and the SDK sees them once they have ended: its samplers choose
them, its processors batch them, its exporters send them.
"""

import time

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, Tracer
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import Attributes, AttributeValue

_UNSET = Status(StatusCode.UNSET)
_ROOT = Context()

Values = dict[str, AttributeValue]


class Recorder:
    """Begins spans as the SDK's tracer would."""

    def __init__(self, tracer: Tracer, scope: str) -> None:
        """`scope`: the name of what is instrumented."""
        self.tracer = tracer
        self.scope = InstrumentationScope(scope)
        self._random = TraceFlags.RANDOM_TRACE_ID if tracer.id_generator.is_trace_id_random() else 0
        self._limits = SpanLimits()

    def begin(
        self, name: str, kind: SpanKind, attributes: Values, parent: Context = _ROOT
    ) -> tuple[SpanContext, "RecordedSpan | None"]:
        """A span whose parent is not one of ours, and its ids; None where the sampler leaves it out."""
        ids, above = self.tracer.id_generator, trace.get_current_span(parent).get_span_context()
        if above.is_valid:
            trace_id, random = above.trace_id, above.trace_flags & TraceFlags.RANDOM_TRACE_ID
        else:
            trace_id, random = ids.generate_trace_id(), self._random
        chosen = self.tracer.sampler.should_sample(parent, trace_id, name, kind, attributes, ())
        sampled = TraceFlags.SAMPLED if chosen.decision is Decision.RECORD_AND_SAMPLE else TraceFlags.DEFAULT
        flags = TraceFlags(random | sampled)
        context = SpanContext(trace_id, ids.generate_span_id(), False, flags, chosen.trace_state)
        if chosen.decision is Decision.DROP:
            return context, None
        found = {**attributes, **chosen.attributes} if chosen.attributes else attributes
        return context, RecordedSpan(self, name, kind, found, context, above if above.is_valid else None)

    def begin_within(self, above: "RecordedSpan", name: str, kind: SpanKind, attributes: Values) -> "RecordedSpan":
        """A span within one of ours: it is recorded because that one is."""
        span_id = self.tracer.id_generator.generate_span_id()
        whole = above.context
        context = SpanContext(whole.trace_id, span_id, False, whole.trace_flags, whole.trace_state)
        return RecordedSpan(self, name, kind, attributes, context, whole)

    def of_span(self, attributes: Values) -> Attributes:
        """The attributes of a span, within the limits that OTEL_* variables set."""
        return _bounded(attributes, self._limits.max_span_attributes, self._limits.max_span_attribute_length)

    def of_event(self, attributes: Values) -> Attributes:
        """The attributes of an event, within theirs."""
        return _bounded(attributes, self._limits.max_event_attributes, self._limits.max_attribute_length)


def _bounded(attributes: Values, most: int | None, longest: int | None) -> Attributes:
    if longest is None and (most is None or len(attributes) <= most):
        return attributes
    return BoundedAttributes(most, attributes, max_value_len=longest)


class RecordedSpan:
    """A span that will be exported when it has ended."""

    __slots__ = ("_events", "_kind", "_name", "_parent", "_recorder", "_start", "_status", "attributes", "context")

    def __init__(
        self,
        recorder: Recorder,
        name: str,
        kind: SpanKind,
        attributes: Values,
        context: SpanContext,
        parent: SpanContext | None,
    ) -> None:
        self.attributes = attributes
        self.context = context
        self._recorder = recorder
        self._name = name
        self._kind = kind
        self._parent = parent
        self._events: list[Event] = []
        self._status = _UNSET
        self._start = time.time_ns()

    def fail(self, why: str | None = None) -> None:
        """Marks it as failed."""
        self._status = Status(StatusCode.ERROR, why)

    def happened(self, event: str, attributes: Values) -> None:
        """Notes what happened now."""
        self._events.append(Event(event, self._recorder.of_event(attributes)))

    def end(self) -> None:
        """Hands it over to be exported; it must not be used any more."""
        recorder = self._recorder
        recorder.tracer.span_processor.on_end(
            ReadableSpan(
                name=self._name,
                context=self.context,
                parent=self._parent,
                resource=recorder.tracer.resource,
                attributes=recorder.of_span(self.attributes),
                events=self._events,
                kind=self._kind,
                status=self._status,
                start_time=self._start,
                end_time=time.time_ns(),
                instrumentation_scope=recorder.scope,
            )
        )
