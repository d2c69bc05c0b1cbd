"""Prices are asked for in rounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from relaypost_server.core.money import Money
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.price_ports import PricesUnavailableError, Unpriced
from relaypost_server.flow.prices import PriceFetcher
from relaypost_server.telemetry.metrics import Metrics
from tests.messages import ID, NOW


def unpriced(sid: str) -> Unpriced:
    return Unpriced(message_id=ID, number=1, provider_message_id=sid, start_time=NOW)


@dataclass
class FakeReader:
    told: dict[str, Money] = field(default_factory=dict)
    failing: bool = False
    asked: list[list[str]] = field(default_factory=list)
    name: str = "twilio"
    prices_a_minute: int = 2

    async def prices(self, sent: Sequence[Unpriced]) -> Mapping[str, Money]:
        self.asked.append([u.provider_message_id for u in sent])
        if self.failing:
            raise PricesUnavailableError("HTTP 503")
        return self.told


@dataclass
class FakePrices:
    waiting: list[Unpriced]
    available: bool = True
    kept: list[tuple[str, Money]] = field(default_factory=list)
    put_back: list[str] = field(default_factory=list)

    async def due(self, provider: str, limit: int) -> Sequence[Unpriced]:
        if not self.available:
            raise LogUnavailableError
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return taken

    async def put_off(self, unpriced: Sequence[Unpriced]) -> None:
        self.put_back += [u.provider_message_id for u in unpriced]

    async def keep(self, prices: Sequence[tuple[Unpriced, Money]]) -> None:
        self.kept += [(u.provider_message_id, price) for u, price in prices]


async def test_a_round_asks_about_so_many_and_keeps_what_is_told() -> None:
    reader = FakeReader({"a": Money(micros=1), "somebody else's": Money(micros=2)})
    log = FakePrices([unpriced(sid) for sid in ("a", "b", "c")])
    metrics = Metrics()
    await PriceFetcher(reader, log, metrics).round()
    assert (reader.asked, log.kept, log.put_back) == ([["a", "b"]], [("a", Money(micros=1))], [])
    assert 'relaypost_prices_total{provider="twilio"} 1.0' in metrics.render().decode()


async def test_where_nothing_is_due_nobody_is_asked() -> None:
    reader = FakeReader()
    await PriceFetcher(reader, FakePrices([]), Metrics()).round()
    assert reader.asked == []


async def test_a_provider_that_fails_is_asked_again_and_reported_once() -> None:
    reader = FakeReader(failing=True)
    log = FakePrices([unpriced(sid) for sid in ("a", "b", "c", "d")])
    fetcher = PriceFetcher(reader, log, Metrics())
    with capture_logs() as logged:
        await fetcher.round()
        await fetcher.round()
    assert log.put_back == ["a", "b", "c", "d"]
    assert [e["log_level"] for e in logged] == ["warning", "debug"]


async def test_without_the_database_nobody_is_asked() -> None:
    reader = FakeReader()
    with pytest.raises(LogUnavailableError):
        await PriceFetcher(reader, FakePrices([unpriced("a")], available=False), Metrics()).round()
    assert reader.asked == []
