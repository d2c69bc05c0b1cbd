"""Calls that are left out of the traces before a span is made."""

from collections.abc import Mapping

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, TraceIdRatioBased

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.message import Channel
from relaypost_server.telemetry.current import current_ids
from relaypost_server.telemetry.sampling import ARGUMENT, SAMPLER, Lottery
from relaypost_server.telemetry.tracing import Tracing

METHOD = "relaypost.v1.MessagingService/SendEmail"
SAMPLED = (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)
NOT_SAMPLED = (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),)


class Rig:
    """A tracing of which a part of the traces is recorded."""

    def __init__(self, ratio: float) -> None:
        lottery = Lottery(ratio)
        sampler: Sampler = ParentBased(TraceIdRatioBased(ratio))
        provider = TracerProvider(sampler=sampler, id_generator=lottery, shutdown_on_exit=False)
        self._exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._tracing = Tracing(provider, lottery)

    def call(self, metadata: tuple[tuple[str, str], ...] = ()) -> int:
        """The id of the trace that a call with one attempt is in."""
        span = self._tracing.begin_call(METHOD, metadata)
        self._tracing.begin_attempt("ses", channel=Channel.EMAIL, number=1, circuit=CircuitState.CLOSED, message_id="m")
        ids = current_ids()
        assert ids is not None
        span.note("OK", failed=False)
        span.end()
        return ids.trace_id

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()


def test_as_many_calls_are_recorded_as_the_ratio_says() -> None:
    rig = Rig(0.25)
    ids = {rig.call() for _ in range(4000)}
    recorded = {span.context.trace_id for span in rig.spans if span.context}
    assert len(ids) == 4000
    assert recorded < ids
    assert 850 < len(recorded) < 1150


def test_the_ids_that_are_recorded_are_those_that_the_sampler_of_another_service_would_choose() -> None:
    rig = Rig(0.25)
    ids = {rig.call() for _ in range(1000)}
    other = TraceIdRatioBased(0.25)
    chosen = {i for i in ids if other.should_sample(None, i, "m").decision is Decision.RECORD_AND_SAMPLE}
    assert {span.context.trace_id for span in rig.spans if span.context} == chosen


def test_a_caller_s_decision_goes_before_the_ratio() -> None:
    nothing, everything = Rig(0.0), Rig(1.0)
    assert nothing.call(SAMPLED) == everything.call(NOT_SAMPLED) == 0x0AF7651916CD43DD8448EB211C80319C
    assert len(nothing.spans) == 1
    assert everything.spans == ()


def test_the_ends_of_the_scale_are_none_and_all() -> None:
    nothing, everything = Rig(0.0), Rig(1.0)
    for rig in (nothing, everything):
        for _ in range(50):
            assert rig.call() != 0
    assert nothing.spans == ()
    assert len(everything.spans) == 50


@pytest.mark.parametrize(
    ("environ", "decides"),
    [
        ({}, False),
        ({SAMPLER: "parentbased_always_on", ARGUMENT: "0.1"}, False),
        ({SAMPLER: "traceidratio"}, True),
        ({SAMPLER: "ParentBased_TraceIdRatio", ARGUMENT: "0.1"}, True),
        ({SAMPLER: "traceidratio", ARGUMENT: "much"}, False),
        ({SAMPLER: "traceidratio", ARGUMENT: "1.5"}, False),
        ({SAMPLER: "traceidratio", ARGUMENT: "nan"}, False),
    ],
)
def test_only_a_ratio_that_is_one_is_drawn_by(environ: Mapping[str, str], decides: bool) -> None:
    assert (Lottery.from_environment(environ) is not None) is decides
