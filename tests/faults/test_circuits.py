"""When circuits open, and when they must not: rows 7 to 9 and 13 to 16 of the fault matrix."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from relaypost import RelaypostError
from relaypost.v1 import message_pb2

from relaypost_server.core.outcome import Kind
from tests.fakes.http import RESET, Reply, Request, answer
from tests.fakes.providers import FakeClock, FakeProvider, Rig, failing
from tests.faults.providers import FAULT, TAKEN
from tests.faults.world import every, kinds, until, world
from tests.messages import email

LONG = os.environ.get("RELAYPOST_FAULTS_LONG") == "1"
"""Whether to take the minutes that the matrix asks for."""
CLOSED = message_pb2.CIRCUIT_STATE_CLOSED
OPEN = message_pb2.CIRCUIT_STATE_OPEN
HALF_OPEN = message_pb2.CIRCUIT_STATE_HALF_OPEN
ONLY_SES = {"RELAYPOST_SMTP_ENABLED": "false", "RELAYPOST_SENDGRID_ENABLED": "false"}


def throttle(value: str) -> Reply:
    return answer(429, b"{}", x_amzn_errortype="TooManyRequestsException", Retry_After=value)


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        pytest.param("7", 6.0, 7.0, id="seconds"),
        pytest.param("date", 6.0, 9.0, id="HTTP date"),
        pytest.param("-1", 0.0, 1.0, id="negative"),
        pytest.param("1000000000", 298.0, 300.0, id="for ever"),
        pytest.param("soon", 0.0, 1.0, id="text"),
    ],
)
async def test_a_throttled_provider_is_left_alone_for_as_long_as_it_says(
    value: str, least: float, most: float, bundled_database: str
) -> None:
    """Row 7: within bounds, and with the circuit closed."""
    async with world(bundled_database) as running:
        if value == "date":
            value = format_datetime(datetime.now(UTC) + timedelta(seconds=8), usegmt=True)
        running.providers.ses.always(throttle(value))
        assert kinds(await running.email()) == [("ses", "THROTTLED"), ("sendgrid", "ACCEPTED")]
        assert kinds(await running.email()) == [("ses", "SKIPPED"), ("sendgrid", "ACCEPTED")]
        health = await running.health("ses")
        wait = health.retry_time.ToDatetime(UTC) - datetime.now(UTC)
        assert least < wait.total_seconds() <= most
        assert (health.circuit_state, health.available) == (CLOSED, False)
        assert running.providers.counts == {"ses": 1, "sendgrid": 2}


async def test_a_throttled_provider_is_asked_again_when_its_time_is_over(bundled_database: str) -> None:
    """Row 7: not a moment before."""
    async with world(bundled_database) as running:
        running.providers.ses.always(throttle("1"))
        await running.email()
        began = asyncio.get_running_loop().time()
        running.providers.heal()
        while kinds(await running.email())[0] == ("ses", "SKIPPED"):
            await asyncio.sleep(0.05)
        assert 0.9 < asyncio.get_running_loop().time() - began < 2.0


async def test_four_faults_a_success_and_four_faults_open_nothing(bundled_database: str) -> None:
    """Row 8: only consecutive failures count."""
    async with world(bundled_database) as running:
        replies = [FAULT["ses"]] * 4 + [TAKEN["ses"]] + [FAULT["ses"]] * 4
        running.providers.ses.reply = lambda _: replies[running.providers.received("ses") - 1]
        for _ in replies:
            await running.email()
            assert (await running.health("ses")).circuit_state == CLOSED
        assert running.providers.counts == {"ses": 9, "sendgrid": 8}


async def test_a_circuit_opens_on_the_fifth_fault_and_health_shows_it(bundled_database: str) -> None:
    """Row 9: the sixth message makes no call."""
    async with world(bundled_database) as running:
        running.providers.ses.always(FAULT["ses"])
        for _ in range(5):
            await running.email()
        assert kinds(await running.email()) == [("ses", "SKIPPED"), ("sendgrid", "ACCEPTED")]
        assert running.providers.received("ses") == 5
        assert (await running.health("ses")).circuit_state == OPEN
        _, over_http = await running.gateway.get("/health/messaging")
        assert '"circuitState": "CIRCUIT_STATE_OPEN"' in over_http
        _, metrics = await running.gateway.get("/metrics")
        assert 'relaypost_circuit_state{channel="email",provider="ses"} 2.0' in metrics
        (event,) = running.gateway.events("circuit open")
        assert (event["provider"], event["reason"]) == ("ses", "consecutive_failures")


async def test_late_failures_from_before_the_opening_change_nothing_in_half_open(bundled_database: str) -> None:
    """Row 13: eight calls fail long after the circuit that let them through has opened."""
    environ = {"RELAYPOST_SES_BREAKER_OPEN_SECONDS": "0.5", "RELAYPOST_SES_TIMEOUT_SECONDS": "5"}
    async with world(bundled_database, environ) as running:
        ses = running.providers.ses

        def reply(_: Request) -> Reply:
            return Reply(then="reset", delay=2.0) if len(ses.received) <= 8 else FAULT["ses"]

        ses.reply = reply
        late = [asyncio.create_task(running.email()) for _ in range(8)]
        await until(lambda: len(ses.received) == 8)
        for _ in range(5):
            await running.email()
        assert (await running.health("ses")).circuit_state == OPEN
        async with asyncio.timeout(1.5):
            while (await running.health("ses")).circuit_state != HALF_OPEN:
                await asyncio.sleep(0.02)
        assert not any(task.done() for task in late)
        assert all(kinds(m)[0] == ("ses", "UNCONFIRMED") for m in await asyncio.gather(*late))
        assert (await running.health("ses")).circuit_state == HALF_OPEN
        assert len(running.gateway.events("circuit open")) == 1
        running.providers.heal()
        for _ in range(2):
            assert (await running.email()).provider == "ses"
        assert (await running.health("ses")).circuit_state == CLOSED


async def test_a_provider_that_flaps_is_opened_by_its_rate(bundled_database: str) -> None:
    """Row 14: every second call fails, never five in a row; B delivers at least 99 %. LONG takes 5 min."""
    async with world(bundled_database) as running:
        ses, loop = running.providers.ses, asyncio.get_running_loop()
        ses.reply = lambda _: TAKEN["ses"] if len(ses.received) % 2 else RESET
        sent: list[message_pb2.Message] = []
        end = loop.time() + (300 if LONG else 0)
        while len(sent) < 1500 or loop.time() < end:
            sent += await asyncio.gather(*(running.email() for _ in range(4)))
            await asyncio.sleep(0.1 if LONG else 0)
        assert all(m.state == message_pb2.MESSAGE_STATE_SENT for m in sent)
        assert sum(m.provider == "sendgrid" for m in sent) >= 0.99 * len(sent)
        assert running.gateway.events("circuit open")[0]["reason"] == "failure_rate"


async def test_a_thousand_calls_while_all_circuits_are_open_reach_nobody(bundled_database: str) -> None:
    """Row 15: UNAVAILABLE with the time of the earliest reopening."""
    async with world(bundled_database, every("BREAKER_FAILURES", "1"), ONLY_SES) as running:
        running.providers.ses.always(FAULT["ses"])
        with pytest.raises(RelaypostError):
            await running.email()
        answers = []
        for _ in range(10):
            answers += await asyncio.gather(*(running.email() for _ in range(100)), return_exceptions=True)
        for error in answers:
            assert isinstance(error, RelaypostError)
            assert (error.code.name, error.reason) == ("UNAVAILABLE", "PROVIDERS_EXHAUSTED")
            assert 30 < (error.retry_after or 0) <= 66
        assert running.providers.received("ses") == 1


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1)])
async def test_a_wall_clock_that_jumps_moves_no_circuit(jump: timedelta) -> None:
    """Row 16, within this process: to turn the machine's clock, a test would need it for itself alone."""
    clock = FakeClock()
    rig = Rig([FakeProvider("a", [failing(Kind.FAULTED)])], clock=clock)

    async def skipped() -> bool:
        delivery = await rig.dispatcher.deliver(email(), caller=rig.caller(10.0))
        return delivery.attempts[0].kind is Kind.SKIPPED

    for _ in range(5):
        assert not await skipped()
    clock.wall += jump
    assert await skipped()
    clock.turn(59.0)
    assert await skipped()
    clock.turn(2.0)
    assert not await skipped()
