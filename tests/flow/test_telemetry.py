"""What operators see of a walk: spans, metrics, health, log lines."""

from dataclasses import replace

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

from relaypost_server.core.adjustments import MOST_ADJUSTMENTS, Adjustment, AdjustmentKind
from relaypost_server.core.breaker import CircuitState, OpenReason
from relaypost_server.core.idempotency import Begun, Replay, RequestKey
from relaypost_server.core.message import Guarantee
from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.flow.health import HealthReader
from relaypost_server.telemetry.tracing import Tracing
from tests import messages
from tests.fakes.providers import ACCEPTED, FakeClock, FakeProvider, Rig, failing


async def send(rig: Rig) -> None:
    await rig.sender.send(messages.email().content, guarantee=Guarantee.AT_LEAST_ONCE, metadata={}, time_left=None)


def traced() -> tuple[Tracing, InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider), exporter


async def test_every_attempt_is_a_span_and_every_skip_an_event() -> None:
    tracing, exporter = traced()
    providers = [
        FakeProvider("a", [failing(Kind.UNAUTHORIZED)]),
        FakeProvider("b", [failing(Kind.FAULTED, provider_code="503")]),
        FakeProvider("c"),
    ]
    rig = Rig(providers, tracing=tracing)
    await send(rig)
    exporter.clear()
    call = tracing.begin_call("relaypost.v1.MessagingService/SendEmail", ())
    await send(rig)
    call.note("OK", failed=False)
    call.end()
    b, c, server = exporter.get_finished_spans()
    assert [s.name for s in (b, c, server)] == ["send b", "send c", "relaypost.v1.MessagingService/SendEmail"]
    assert {s.parent.span_id for s in (b, c) if s.parent} == {server.context.span_id}
    assert dict(b.attributes or {}) == {
        "relaypost.provider": "b",
        "relaypost.channel": "email",
        "relaypost.attempt.number": 2,
        "relaypost.circuit.state": "closed",
        "relaypost.message.id": rig.log.records[1].id,
        "relaypost.outcome.kind": "faulted",
        "relaypost.outcome.detail": "faulted",
        "relaypost.provider.code": "503",
        "relaypost.provider.message_id": "",
    }
    assert b.status.status_code is StatusCode.ERROR
    assert c.status.status_code is StatusCode.UNSET
    (event,) = server.events
    assert event.name == "provider skipped"
    assert dict(event.attributes or {}) == {
        "relaypost.provider": "a",
        "relaypost.circuit.state": "open",
        "relaypost.skip.reason": "circuit open",
    }


def spans_of(exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    return list(exporter.get_finished_spans())


def test_a_call_continues_the_trace_of_its_caller() -> None:
    tracing, exporter = traced()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    tracing.begin_call("m", [("traceparent", parent), ("user-agent", "x")]).end()
    (span,) = spans_of(exporter)
    assert f"{span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert span.parent
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"


@pytest.mark.parametrize("hostile", ["", "00-0-0-01", "x" * 10_000, "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_parent_that_makes_no_sense_begins_a_new_trace(hostile: str) -> None:
    tracing, exporter = traced()
    tracing.begin_call("m", [("traceparent", hostile)]).end()
    assert spans_of(exporter)[0].parent is None


async def test_what_is_not_sampled_makes_no_span() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = Tracing(provider)
    call = tracing.begin_call("m", ())
    await send(Rig([FakeProvider("a")], tracing=tracing))
    call.end()
    assert spans_of(exporter) == []


async def test_metrics_count_attempts_messages_time_and_cost() -> None:
    providers = [
        FakeProvider("a", [failing(Kind.UNSUPPORTED, alert=True)]),
        FakeProvider("b", [failing(Kind.ACCEPTED, cost=Money(micros=2_500_000))]),
    ]
    rig = Rig(providers)
    for _ in range(3):
        await send(rig)
    lines = rig.metrics.render().decode().splitlines()
    for line in (
        'relaypost_attempts_total{channel="email",kind="unsupported",provider="a"} 3.0',
        'relaypost_attempts_total{channel="email",kind="accepted",provider="b"} 3.0',
        'relaypost_alerts_total{channel="email",kind="unsupported",provider="a"} 3.0',
        'relaypost_messages_total{channel="email",state="sent"} 3.0',
        'relaypost_attempt_duration_seconds_count{channel="email",provider="b"} 3.0',
        'relaypost_message_duration_seconds_bucket{channel="email",le="30.0"} 3.0',
        'relaypost_circuit_state{channel="email",provider="a"} 0.0',
        'relaypost_cost_total{channel="email",currency="USD",provider="b"} 7.5',
    ):
        assert line in lines


async def test_health_tells_what_people_ask() -> None:
    clock = FakeClock()
    rig = Rig([FakeProvider("a", [failing(Kind.UNAUTHORIZED, provider_code="401")]), FakeProvider("b")], clock=clock)
    await send(rig)
    clock.turn(10.0)
    health = HealthReader([rig.chain], rig.log).read()
    (channel,) = health.channels
    a, b = channel.providers
    assert channel.serving
    assert (a.available, a.circuit_state, a.circuit_reason) == (False, CircuitState.OPEN, OpenReason.ACCOUNT)
    assert a.retry_time is not None
    assert (a.retry_time - clock.wall).total_seconds() == pytest.approx(50.0)
    assert a.last_failure is not None
    assert (a.last_failure.kind, a.last_failure.code) == (Kind.UNAUTHORIZED, "401")
    assert (b.available, b.retry_time, b.last_failure) == (True, None, None)
    assert b.last_success_time is not None


async def test_a_channel_serves_until_its_last_circuit_opens() -> None:
    rig = Rig([FakeProvider(n, [failing(Kind.UNAUTHORIZED)]) for n in ("a", "b")])
    reader = HealthReader([rig.chain], rig.log)
    assert reader.read().channels[0].serving
    await send(rig)
    assert not reader.read().channels[0].serving


async def test_reading_health_takes_no_probe() -> None:
    clock = FakeClock()
    rig = Rig([FakeProvider("a", [failing(Kind.UNAUTHORIZED)])], clock=clock)
    await send(rig)
    clock.turn(61.0)
    reader = HealthReader([rig.chain], rig.log)
    for _ in range(100):
        assert reader.read().channels[0].serving


QUOTES = Adjustment(field="sms.text", kind=AdjustmentKind.REPLACED, description="3 characters were replaced")
SPACE = Adjustment(field="email.to[1].address", kind=AdjustmentKind.TRIMMED, description="spaces were dropped")
LONG = Adjustment(field="email.sender.display_name", kind=AdjustmentKind.SHORTENED, description="it was shortened")


def adjusted(rig: Rig) -> dict[tuple[str, str], float]:
    """The count of each field and kind."""
    samples = [s for family in rig.metrics.collect() if family.name == "relaypost_adjustments" for s in family.samples]
    return {(s.labels["field"], s.labels["kind"]): s.value for s in samples}


async def test_changes_are_counted_when_a_message_is_taken_on() -> None:
    shortened = replace(ACCEPTED, adjustments=(LONG,))
    rig = Rig([FakeProvider("a", [failing(Kind.FAULTED, adjustments=(LONG,))]), FakeProvider("b", [shortened])])
    content = messages.email().content
    many = (SPACE,) * (MOST_ADJUSTMENTS + 5)
    sent = await rig.sender.send(
        content, guarantee=Guarantee.AT_LEAST_ONCE, metadata={}, time_left=None, adjustments=many
    )
    assert len(sent.record.adjustments) == MOST_ADJUSTMENTS
    assert adjusted(rig) == {
        ("email.to.address", "trimmed"): MOST_ADJUSTMENTS + 5,
        ("email.sender.display_name", "shortened"): 1,
    }


async def test_a_request_that_is_repeated_counts_its_changes_once() -> None:
    rig = Rig([FakeProvider("a", [failing(Kind.FAULTED)])])
    key = RequestKey(caller="", method="SendEmail", request_id="r-1")
    content = messages.email().content

    async def ask() -> None:
        await rig.sender.send(
            content,
            guarantee=Guarantee.AT_LEAST_ONCE,
            metadata={},
            time_left=None,
            key=key,
            adjustments=(SPACE,),
        )

    await ask()
    earlier = rig.requests.finished[0][0]
    rig.requests.answers += [Begun(fence=2, record=earlier), Replay(record=earlier)]
    await ask()
    await ask()
    assert adjusted(rig) == {("email.to.address", "trimmed"): 1}


async def test_changes_of_a_message_that_is_sent_without_its_claim_are_counted() -> None:
    rig = Rig([FakeProvider("a")], without_log=True)
    rig.requests.answers.append(LogUnavailableError())
    key = RequestKey(caller="", method="SendSms", request_id="r-1")
    await rig.sender.send(
        messages.email().content,
        guarantee=Guarantee.AT_LEAST_ONCE,
        metadata={},
        time_left=None,
        key=key,
        adjustments=(QUOTES,),
    )
    assert adjusted(rig) == {("sms.text", "replaced"): 1}
