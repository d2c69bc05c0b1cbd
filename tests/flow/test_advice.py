"""What is told to other gateways, what is heeded, and what becomes of it without a bus."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from relaypost_server.core.advice import Advice, AdviceKind, BusUnavailableError, Ignored, read, write
from relaypost_server.core.breaker import OpenReason
from relaypost_server.core.message import Channel
from relaypost_server.core.outcome import Kind
from relaypost_server.flow.advice import Advisory
from relaypost_server.flow.background import BackgroundTasks
from relaypost_server.peers.redis import RedisBus
from relaypost_server.telemetry.metrics import Metrics
from tests.fakes.providers import ACCEPTED, FakeClock, FakeProvider, Rig, failing
from tests.faults.world import until
from tests.messages import email
from tests.redis_server import redis_server


@dataclass
class FakeBus:
    """Hands on what is published here, while it is up."""

    trouble: Exception | None = None
    published: list[bytes] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Publishing waits for it."""
    listening: int = 0

    async def publish(self, message: bytes) -> None:
        await self.gate.wait()
        if self.trouble:
            raise self.trouble
        self.published.append(message)

    async def listen(self, connected: Callable[[], None], hear: Callable[[bytes], None]) -> None:
        self.listening += 1
        if self.trouble:
            raise self.trouble
        connected()
        await asyncio.Event().wait()

    async def close(self) -> None: ...


class Scene:
    """A gateway that sends by "a" and "b", and its part in the exchange."""

    def __init__(self, *answers: Any, bus: FakeBus | None = None) -> None:
        self.clock = FakeClock()
        self.bus = bus or FakeBus()
        self.bus.gate.set()
        providers = [FakeProvider("a", [*answers] or [ACCEPTED]), FakeProvider("b")]
        self.metrics = Metrics()
        self.advisory = Advisory(
            self.bus, replica="here", metrics=self.metrics, clock=self.clock.clock(), draw=lambda: 0.0
        )
        self.rig = Rig(providers, clock=self.clock, metrics=self.metrics, tell=self.advisory.tell)
        self.advisory.advise(self.rig.chain.links)

    async def send(self, times: int = 1) -> None:
        for _ in range(times):
            await self.rig.dispatcher.deliver(email(), caller=self.rig.caller(10.0))

    def hear(self, kind: AdviceKind, seconds: float = 60.0) -> None:
        advice = Advice(kind=kind, channel=Channel.EMAIL, provider="a", seconds=seconds)
        self.advisory.hear(write(advice, replica="there", at=self.clock.wall.timestamp()))

    def told(self) -> list[tuple[str, str, float]]:
        advice = [read(m, replica="there", now=self.clock.wall.timestamp()) for m in self.bus.published]
        return [(a.kind, a.provider, round(a.seconds)) for a in advice if not isinstance(a, Ignored)]

    def metric(self, line: str) -> bool:
        return line.encode() in self.metrics.render().splitlines()


@asynccontextmanager
async def running(scene: Scene) -> AsyncIterator[Scene]:
    scene.advisory.start(BackgroundTasks(shortest=0.01))
    try:
        yield scene
    finally:
        await scene.advisory.stop()


@pytest.mark.parametrize(
    ("outcome", "sends", "expected"),
    [
        (failing(Kind.FAULTED), 4, []),
        (failing(Kind.FAULTED), 9, [("opened", "a", 60)]),
        (failing(Kind.UNAUTHORIZED, alert=True), 1, [("opened", "a", 60)]),
        (failing(Kind.THROTTLED, retry_after=7.0), 3, [("cooling", "a", 7)]),
        (failing(Kind.THROTTLED), 1, [("cooling", "a", 1)]),
        (failing(Kind.THROTTLED, retry_after=36_000.0), 1, [("cooling", "a", 36_000)]),
        (failing(Kind.REJECTED), 9, []),
        (ACCEPTED, 9, []),
    ],
)
async def test_an_opened_circuit_and_a_throttle_are_told_once(outcome: Any, sends: int, expected: list[Any]) -> None:
    async with running(Scene(outcome)) as scene:
        await scene.send(sends)
        await until(lambda: len(scene.bus.published) >= len(expected))
        assert scene.told() == expected


async def test_what_was_heard_is_not_told_on() -> None:
    async with running(Scene(failing(Kind.FAULTED))) as scene:
        scene.hear(AdviceKind.OPENED)
        await scene.send(2)
        [a, _] = scene.rig.chain.health().providers
        assert (a.circuit_reason, len(scene.rig.providers[0].received)) == (OpenReason.ADVISED, 1)
        scene.clock.turn(61.0)
        await scene.send()  # The probe fails.
        scene.hear(AdviceKind.COOLING)
        await asyncio.sleep(0.05)
        assert scene.told() == []


async def test_a_cool_down_is_taken_over_and_benches_nobody_for_more_than_a_day() -> None:
    scene = Scene()
    scene.hear(AdviceKind.COOLING, seconds=1e9)
    await scene.send()
    assert [len(p.received) for p in scene.rig.providers] == [0, 1]
    scene.clock.turn(24 * 3600.0)
    await scene.send()
    assert [len(p.received) for p in scene.rig.providers] == [1, 1]


async def test_while_others_cannot_be_told_the_longest_of_each_kind_waits() -> None:
    bus = FakeBus()
    async with running(Scene(bus=bus)) as scene:
        bus.gate.clear()
        for seconds in (1.0, 300.0, *[2.0] * 1000):
            for provider in ("a", "b"):
                scene.advisory.tell(
                    Advice(kind=AdviceKind.COOLING, channel=Channel.EMAIL, provider=provider, seconds=seconds)
                )
        bus.gate.set()
        await until(lambda: len(bus.published) == 2)
        assert scene.told() == [("cooling", "a", 300), ("cooling", "b", 300)]


@pytest.mark.parametrize("trouble", [BusUnavailableError("ConnectionError"), RuntimeError("a bug")])
async def test_without_a_bus_advice_is_dropped_and_the_log_says_so_once(trouble: Exception) -> None:
    bus = FakeBus(trouble)
    with capture_logs() as logs:
        async with running(Scene(failing(Kind.FAULTED), bus=bus)) as scene:
            await scene.send(5)
            await until(lambda: scene.metric('relaypost_advice_told_total{result="dropped"} 1.0'))
            await until(lambda: bus.listening >= 2)
            assert scene.metric("relaypost_advice_connected 0.0")
            bus.trouble = None
            await until(lambda: scene.metric("relaypost_advice_connected 1.0"))
    said = [(line["event"], line["log_level"]) for line in logs if line["event"].startswith("advice")]
    assert said == [("advice unavailable", "warning"), ("advice connected", "info")]


async def test_a_connection_that_redis_closed_while_it_was_idle_costs_no_advice() -> None:
    async with redis_server() as redis:
        bus = RedisBus(redis.url, prefix="p:")
        heard: list[bytes] = []
        await bus.publish(b"first")
        listening = asyncio.create_task(bus.listen(lambda: heard.append(b"connected"), heard.append))
        await until(lambda: heard == [b"connected"])
        await redis.kill()
        with pytest.raises(BusUnavailableError):
            await listening
        await redis.start()
        listening = asyncio.create_task(bus.listen(lambda: heard.append(b"again"), heard.append))
        await until(lambda: heard == [b"connected", b"again"])
        await bus.publish(b"second")
        await until(lambda: heard[-1] == b"second")
        listening.cancel()
        await bus.close()


async def test_nothing_of_a_url_is_told_when_redis_refuses_the_password() -> None:
    async with redis_server() as redis:
        bus = RedisBus(redis.url.replace("//", "//somebody:a-secret@"), prefix="p:")
        with pytest.raises(BusUnavailableError) as caught:
            await bus.publish(b"")
        assert str(caught.value) == "AuthenticationError"
        await bus.close()


async def test_a_connection_on_which_nothing_comes_any_more_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no packet says that it ended."""
    monkeypatch.setattr("relaypost_server.peers.redis.SILENCE", 0.1)
    async with redis_server() as redis:
        bus = RedisBus(redis.url, prefix="p:")
        connected = asyncio.Event()
        listening = asyncio.create_task(bus.listen(connected.set, lambda _: None))
        await connected.wait()
        await asyncio.sleep(0.5)
        assert not listening.done()
        redis.signal(signal.SIGSTOP)
        with pytest.raises(BusUnavailableError):
            await listening
        await bus.close()
