"""Asking providers in the background."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from relaypost_server.core.delivery import DeliveryEvent
from relaypost_server.core.look_ups import Doubt, LookUpError
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.flow import look_ups
from relaypost_server.flow.background import BackgroundTasks
from relaypost_server.flow.look_ups import LookUps
from relaypost_server.telemetry.metrics import Metrics
from tests.messages import ID, NOW
from tests.receipts import event


@dataclass
class FakeAnswering:
    """Answers in turn, the last answer for ever."""

    answers: list[Sequence[DeliveryEvent] | Exception]
    name: str = "fake"
    looks_up: bool = True
    by_our_id: bool = False
    look_up_pause: float = 0.0
    asked: list[Doubt] = field(default_factory=list)

    async def look_up(self, doubt: Doubt) -> Sequence[DeliveryEvent]:
        self.asked.append(doubt)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return found


@dataclass
class FakeLog:
    """Has some doubts, and keeps the events that settle them."""

    doubts: list[Sequence[Doubt] | Exception]
    recorded: list[DeliveryEvent] = field(default_factory=list)

    async def claim(self, provider: str, limit: int) -> Sequence[Doubt]:
        found = self.doubts.pop(0) if self.doubts else []
        if isinstance(found, Exception):
            raise found
        return found

    async def record(self, events: Sequence[DeliveryEvent]) -> int:
        self.recorded += events
        return len(events)

    async def match(self) -> int:
        return 0


DOUBT = Doubt(
    message_id=ID, provider="fake", recipient="+14155550123", sender="", start_time=NOW, duration=1.0, rivals=0
)
FOUND = event(provider="fake", provider_message_id="1")


async def test_what_one_question_comes_to_does_not_touch_the_others() -> None:
    log, metrics = FakeLog([[DOUBT] * 4]), Metrics()
    provider = FakeAnswering([LookUpError("HTTP 500"), [], [FOUND, event(provider_message_id="2")], [FOUND]])
    await LookUps(log, log, [provider], metrics).round(provider)
    assert log.recorded == [FOUND]
    for result in ("failed", "not_found", "ambiguous", "settled"):
        assert f'relaypost_look_ups_total{{provider="fake",result="{result}"}} 1.0' in metrics.render().decode()


async def test_neither_an_outage_nor_a_bug_ends_the_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_ups, "ROUND_SECONDS", 0.01)
    log = FakeLog([LogUnavailableError(), [DOUBT], [DOUBT]])
    provider = FakeAnswering([RuntimeError("a bug"), [FOUND]])
    asking = LookUps(log, log, [provider], Metrics())
    asking.start(BackgroundTasks(shortest=0.01))
    async with asyncio.timeout(10):
        while not log.recorded:
            await asyncio.sleep(0.01)
    await asking.stop()


async def test_who_is_not_set_up_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_ups, "ROUND_SECONDS", 0.01)
    log, provider = FakeLog([[DOUBT]]), FakeAnswering([[FOUND]], looks_up=False)
    asking = LookUps(log, log, [provider], Metrics())
    asking.start()
    await asyncio.sleep(0.05)
    await asking.stop()
    assert (provider.asked, len(log.doubts)) == ([], 1)
