"""The order in which a gateway stops, and what holds it up."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from relaypost_server.assembly import shutdown as shutdown_module
from relaypost_server.assembly.shutdown import CANCELLED_SECONDS, KEPT_BACK, Phase, Shutdown


@dataclass
class Work:
    """Calls in flight, which end when they are cut off, or when they are cancelled."""

    told: list[str]
    ends_when_cut_off: bool = True
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def drain(self) -> None:
        self.told.append("drain")
        try:
            await self.ended.wait()
        except asyncio.CancelledError:
            self.told.append("cancelled")
            raise
        self.told.append("drained")

    def cut_off(self) -> None:
        self.told.append("cut off")
        if self.ends_when_cut_off:
            self.ended.set()


def noting(told: list[str], word: str) -> Callable[[], "asyncio.Future[None]"]:
    async def stop() -> None:
        told.append(word)

    return lambda: asyncio.ensure_future(stop())


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def shutdown(told: list[str]) -> Shutdown:
    """One whose parts say when they are stopped; registered in the wrong order."""
    made = Shutdown()
    for phase in reversed(Phase):
        made.then(phase, noting(told, phase.name))
    made.at_once(noting(told, "at once"))
    return made


PHASES = [phase.name for phase in Phase]


async def test_parts_stop_in_the_order_of_their_phases_whenever_they_were_started(
    shutdown: Shutdown, told: list[str]
) -> None:
    shutdown.in_flight(work := Work(told))
    work.ended.set()
    await shutdown.run(delay=0.0, grace=60.0)
    assert told == ["at once", "drain", "drained", *PHASES]


async def test_what_is_in_flight_is_cut_off_before_the_grace_ends(
    shutdown: Shutdown, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown_module, "ANSWER_SECONDS", 60.0)
    shutdown.in_flight(Work(told))
    async with asyncio.timeout(30):
        await shutdown.run(delay=0.0, grace=0.1)
    assert told == ["at once", "drain", "cut off", "drained", *PHASES]


async def test_what_does_not_even_end_then_is_cancelled(
    shutdown: Shutdown, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown_module, "ANSWER_SECONDS", 0.4)
    shutdown.in_flight(Work(told, ends_when_cut_off=False))
    await shutdown.run(delay=0.0, grace=0.1)
    assert told == ["at once", "drain", "cut off", "cancelled", *PHASES]


async def test_a_part_that_hangs_or_fails_keeps_no_other_from_stopping(shutdown: Shutdown, told: list[str]) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    async def fail() -> None:
        raise RuntimeError("no")

    shutdown.at_once(fail)
    for phase in (Phase.BACKGROUND, Phase.RECORDS):
        shutdown.then(phase, hang)
        shutdown.then(phase, fail)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await shutdown.run(delay=0.0, grace=0.0)
    assert told == ["at once", *PHASES]
    assert loop.time() - began < sum(KEPT_BACK.values()) + 5.0


async def test_a_second_signal_ends_the_delay_and_the_grace(shutdown: Shutdown, told: list[str]) -> None:
    shutdown.in_flight(Work(told))
    stopping = asyncio.create_task(shutdown.run(delay=600.0, grace=600.0))
    await asyncio.sleep(0)
    shutdown.hurry()
    async with asyncio.timeout(30):
        await stopping
    assert told == ["at once", "drain", "cut off", "drained", *PHASES]


def test_every_phase_but_the_last_has_time_of_its_own() -> None:
    assert set(KEPT_BACK) == set(Phase) - {Phase.BUNDLED_DATABASE}
    cancelled = CANCELLED_SECONDS * len(KEPT_BACK)
    assert sum(KEPT_BACK.values()) + cancelled < 2.0, "30 seconds less the default delay and grace"
