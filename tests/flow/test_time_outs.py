"""Circuits and time-outs: hurried callers open no healthy circuit, and a hanging provider is noticed all the same."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from relaypost_server.core.breaker import CircuitState, OpenReason
from relaypost_server.core.message import Guarantee
from relaypost_server.core.outcome import Kind
from relaypost_server.flow.dispatch import Caller
from tests import messages
from tests.fakes.http import HANG, FakeHttp, answer, fake_http
from tests.fakes.providers import ACCEPTED, FakeClock, FakeProvider, Rig, failing
from tests.providers.configured import OVER_HTTP, build, warmed_up

pytestmark = pytest.mark.usefixtures("aws_keys")

OK = answer(200, b'{"MessageId":"id-1"}')


@pytest.fixture
async def peer() -> AsyncIterator[FakeHttp]:
    async with fake_http(OK) as fake:
        yield fake


@pytest.fixture
async def rig(peer: FakeHttp) -> AsyncIterator[Rig]:
    """A chain of the real SES provider alone."""
    ses = await warmed_up(build("ses", OVER_HTTP["ses"](peer.url)))
    yield Rig([ses])
    await ses.close()


async def send(rig: Rig, seconds: float) -> list[Kind]:
    """How the attempts for a caller end who has so many seconds left."""
    message = messages.email(Guarantee.AT_MOST_ONCE)
    delivery = await rig.dispatcher.deliver(message, caller=rig.caller(seconds - rig.limits.reserve))
    return [a.kind for a in delivery.attempts]


def circuit(rig: Rig) -> CircuitState:
    return rig.chain.links[0].state(rig.chain.links[0].now())


async def test_a_provider_that_takes_longer_than_its_callers_wait_stays_closed(rig: Rig, peer: FakeHttp) -> None:
    """1.3 s for an answer, five callers with 1.4 s, of which 0.2 s are kept for the log."""
    peer.always(replace(OK, delay=1.3))
    await asyncio.gather(*(send(rig, 1.4) for _ in range(5)))
    assert circuit(rig) is CircuitState.CLOSED
    assert len(peer.received) == 5


async def test_a_provider_that_begins_to_hang_is_noticed_by_hurried_callers(rig: Rig, peer: FakeHttp) -> None:
    assert await send(rig, 10.0) == [Kind.ACCEPTED]
    peer.always(HANG)
    assert await asyncio.gather(*(send(rig, 2.7) for _ in range(5))) == [[Kind.UNCONFIRMED]] * 5
    assert circuit(rig) is CircuitState.OPEN


async def test_a_provider_that_has_always_hung_is_noticed_after_three_seconds(rig: Rig, peer: FakeHttp) -> None:
    peer.always(HANG)
    await asyncio.gather(*(send(rig, 2.0) for _ in range(5)))
    assert circuit(rig) is CircuitState.CLOSED
    await asyncio.gather(*(send(rig, 3.3) for _ in range(5)))
    assert circuit(rig) is CircuitState.OPEN


async def test_the_rule_weighs_each_time_out_by_what_was_seen_of_the_provider() -> None:
    clock = FakeClock()
    slow = FakeProvider("a")
    rig = Rig([slow], clock=clock)

    async def take(message: object, timeout: float) -> object:
        clock.turn(1.3)
        return ACCEPTED

    slow.answers = [take]  # type: ignore[list-item]
    await send(rig, 10.0)
    slow.answers = [failing(Kind.UNCONFIRMED, given_up_after=2.5)]
    for _ in range(10):
        await send(rig, 2.7)
    assert circuit(rig) is CircuitState.CLOSED
    slow.answers = [failing(Kind.UNCONFIRMED, given_up_after=2.6)]
    for _ in range(5):
        await send(rig, 2.8)
    assert rig.chain.health().providers[0].circuit_reason is OpenReason.CONSECUTIVE_FAILURES


async def test_a_hurried_caller_leaves_the_probe_to_the_next_one() -> None:
    clock = FakeClock()
    provider = FakeProvider("a", [failing(Kind.UNAUTHORIZED)])
    rig = Rig([provider], clock=clock)
    await send(rig, 10.0)
    clock.turn(61.0)
    provider.answers = [failing(Kind.UNCONFIRMED, given_up_after=1.2)]
    await send(rig, 1.4)
    assert circuit(rig) is CircuitState.HALF_OPEN
    provider.answers = [failing(Kind.UNCONFIRMED, given_up_after=10.0)]
    await send(rig, 10.4)
    assert circuit(rig) is CircuitState.OPEN


async def test_attempts_that_a_shutdown_cuts_off_open_no_circuit() -> None:
    async def never(message: object, timeout: float) -> object:
        await asyncio.Event().wait()
        raise AssertionError

    provider = FakeProvider("a", [never])  # type: ignore[list-item]
    rig = Rig([provider])
    caller = Caller(began=rig.chain.links[0].now(), end=rig.chain.links[0].now() + 10.0)
    cut_off = [
        asyncio.create_task(rig.dispatcher.deliver(messages.email(Guarantee.AT_MOST_ONCE), caller=caller))
        for _ in range(6)
    ]
    async with asyncio.timeout(5):
        while len(provider.received) < 6:
            await asyncio.sleep(0.01)
    for task in cut_off:
        task.cancel()
    assert [d.attempts[0].kind for d in await asyncio.gather(*cut_off)] == [Kind.UNCONFIRMED] * 6
    assert circuit(rig) is CircuitState.CLOSED
