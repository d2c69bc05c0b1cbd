"""Counting what arrives, and benching what does not deliver."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from relaypost_server.core.breaker import CircuitState, OpenReason
from relaypost_server.core.delivery import EventType
from relaypost_server.core.delivery_rates import DeliveryRate, Fate, SicknessPolicy
from relaypost_server.core.message import Channel, Guarantee
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.flow import delivery_upkeep
from relaypost_server.flow.delivery_upkeep import DeliveryUpkeep
from relaypost_server.flow.health import HealthReader
from tests import messages
from tests.fakes.providers import FakeClock, FakeProvider, Rig

DELIVERED, FAILED = EventType.DELIVERED, EventType.FAILED


@dataclass
class FakeFates:
    """Counts as it is told."""

    found: Sequence[Fate] | Exception = ()
    asked: list[tuple[Collection[str], tuple[datetime, datetime]]] = field(default_factory=list)

    async def fates(self, providers: Collection[str], *, created: tuple[datetime, datetime]) -> Sequence[Fate]:
        self.asked.append((providers, created))
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def fates(provider: str = "a", **counts: int) -> list[Fate]:
    return [
        Fate(
            channel=Channel.SMS,
            provider=provider,
            country="US",
            kind=EventType(kind),
            reason=None,
            permanent=True,
            messages=count,
        )
        for kind, count in counts.items()
    ]


class World:
    """A chain of two providers, of which the first reports receipts."""

    def __init__(self, *names: str) -> None:
        self.clock = FakeClock()
        providers = [FakeProvider(name, channel=Channel.SMS) for name in names or ("a", "b")]
        self.rig = Rig(providers, Channel.SMS, clock=self.clock)
        self.log = FakeFates()
        self.upkeep = DeliveryUpkeep(
            self.log,
            [self.rig.chain],
            reporting=["a"],
            window=1800.0,
            settle=300.0,
            policy=SicknessPolicy(below=0.3, least=50),
            metrics=self.rig.metrics,
            clock=self.clock.clock(),
        )

    async def round(self, found: Sequence[Fate], *, after: float = 0.0) -> None:
        self.clock.turn(after)
        self.log.found = found
        await self.upkeep.round()

    async def send(self) -> str:
        sent = await self.rig.sender.send(
            messages.sms().content, guarantee=Guarantee.AT_LEAST_ONCE, metadata={}, time_left=None
        )
        return sent.record.provider

    @property
    def circuit(self) -> tuple[CircuitState, Any]:
        health = self.rig.chain["a"].health()
        return health.circuit_state, health.circuit_reason


async def test_a_provider_that_takes_and_does_not_deliver_is_passed_over() -> None:
    world = World()
    assert await world.send() == "a"
    await world.round(fates(delivered=10, failed=90))
    assert world.circuit == (CircuitState.OPEN, OpenReason.UNDELIVERED)
    assert await world.send() == "b"
    assert 'circuit_transitions_total{channel="sms",provider="a",reason="undelivered",state="open"} 1.0' in (
        world.rig.metrics.render().decode()
    )


async def test_it_stays_benched_for_as_long_as_the_counts_say_and_is_then_probed() -> None:
    world = World()
    for _ in range(10):
        await world.round(fates(delivered=10, failed=90), after=30.0)
        assert await world.send() == "b"
    await world.round(fates(delivered=10), after=30.0)
    assert await world.send() == "b"
    world.clock.turn(60.0)
    assert [await world.send() for _ in range(3)] == ["a", "a", "a"]
    assert world.circuit == (CircuitState.CLOSED, None)


async def test_the_only_provider_left_is_not_benched() -> None:
    alone = World("a")
    await alone.round(fates(failed=100))
    assert await alone.send() == "a"
    both = World()
    both.rig.chain["b"].bench()
    await both.round(fates(failed=100))
    assert await both.send() == "a"


async def test_of_two_sick_providers_one_goes_on() -> None:
    world = World()
    await world.round([*fates(failed=100), *fates("b", failed=100)])
    assert await world.send() == "b"


async def test_a_healthy_provider_is_left_alone() -> None:
    world = World()
    await world.round([*fates(delivered=90, failed=10, bounced=1000)])
    assert world.circuit == (CircuitState.CLOSED, None)


async def test_only_messages_that_had_time_to_arrive_are_counted() -> None:
    world = World()
    await world.round([])
    [(providers, (first, last))] = world.log.asked
    assert providers == ["a"]
    assert (world.clock.wall - first, world.clock.wall - last) == (timedelta(minutes=30), timedelta(minutes=5))


async def test_the_rates_are_in_health_and_metrics() -> None:
    world = World()
    await world.round(fates(delivered=3, failed=2, bounced=1))
    health = HealthReader([world.rig.chain], world.rig.log, deliveries=world.upkeep).read()
    a, b = health.channels[0].providers
    expected = DeliveryRate(
        channel=Channel.SMS,
        provider="a",
        country="US",
        delivered=3,
        undelivered=3,
        not_its_fault=1,
        unknown=0,
        window=1800.0,
    )
    assert (a.delivery_rates, b.delivery_rates) == ((expected,), ())
    line = 'relaypost_delivery_recent_messages{channel="sms",country="US",fate="undelivered",provider="a"} 3.0'
    assert line in world.rig.metrics.render().decode()


async def test_what_is_not_known_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_upkeep, "ROUND_SECONDS", 0.01)
    world = World()
    world.log.found = fates(delivered=3)
    world.upkeep.start()
    async with asyncio.timeout(10):
        while not world.upkeep.rates:
            await asyncio.sleep(0.01)
        world.log.found = LogUnavailableError()
        while world.upkeep.rates:
            await asyncio.sleep(0.01)
        world.log.found = fates(delivered=3)
        while not world.upkeep.rates:
            await asyncio.sleep(0.01)
    await world.upkeep.stop()
