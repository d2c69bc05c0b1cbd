"""What a month will have cost at its end, if it goes on as it began, and what other providers would charge for it."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction

from relaypost_server.core.costs import Spending, carried, cost_of
from relaypost_server.core.message import Channel
from relaypost_server.core.money import Money
from relaypost_server.core.tariffs import Tariff, days_in, free_units

CURRENCY = "USD"
"""Of all price lists. What was billed in another one is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastLine:
    """One provider's month."""

    channel: Channel
    provider: str
    units_so_far: int
    units: int
    free_units: int
    """Of the whole month."""
    cost_so_far: Money
    cost: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """What a provider would charge if it alone carried all of a channel's month."""

    channel: Channel
    provider: str
    cost: Money | None
    """None: it has no known price for at least one of the countries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A month of UTC."""

    month: date
    elapsed: float
    """The part of the month that is over, 0 to 1."""
    lines: Sequence[ForecastLine]
    alternatives: Sequence[Alternative]


def forecast(spendings: Collection[Spending], tariffs: Collection[Tariff], *, now: datetime) -> Forecast:
    """`spendings`: those of the month of `now`. Its first day counts as a whole one, lest an hour foretell a month."""
    month = now.astimezone(UTC).date().replace(day=1)
    days = days_in(month)
    since = now - datetime(month.year, month.month, 1, tzinfo=UTC)
    elapsed = Fraction(since.total_seconds()) / (days * 86_400)
    growth = 1 / max(elapsed, Fraction(1, days))
    paid = [s for s in spendings if s.currency == CURRENCY]
    known = {t.provider: t for t in tariffs}
    providers = sorted({(s.channel, s.provider) for s in paid})
    lines = [_line(c, p, [s for s in paid if (s.channel, s.provider) == (c, p)], known, growth) for c, p in providers]
    return Forecast(
        month=month, elapsed=float(elapsed), lines=lines, alternatives=_alternatives(paid, tariffs, month, growth)
    )


def _line(
    channel: Channel, provider: str, spendings: Sequence[Spending], known: Mapping[str, Tariff], growth: Fraction
) -> ForecastLine:
    month = spendings[0].day.replace(day=1)
    tariff = known.get(provider)
    free = free_units([tariff] if tariff else [], (carried(s) for s in spendings))
    so_far = sum((cost_of(s, free) for s in spendings), Fraction())
    units = sum(s.units for s in spendings)
    tier = tariff.free.of_month(month) if tariff else 0
    billed, unbilled = sum(s.billed for s in spendings), sum(s.unbilled for s in spendings)
    cost = growth * (billed + unbilled * _charged(growth * units, tier))
    return ForecastLine(
        channel=channel,
        provider=provider,
        units_so_far=units,
        units=round(growth * units),
        free_units=tier,
        cost_so_far=Money(micros=round(so_far), currency=CURRENCY),
        cost=Money(micros=round(cost), currency=CURRENCY),
    )


def _alternatives(
    spendings: Iterable[Spending], tariffs: Iterable[Tariff], month: date, growth: Fraction
) -> list[Alternative]:
    by_country = dict[Channel, Counter[str]]()
    for each in spendings:
        if not each.duplicate:  # A provider that carried all would send no second copies.
            by_country.setdefault(each.channel, Counter())[each.country] += each.units
    return [
        Alternative(channel=t.channel, provider=t.provider, cost=_alone(t, by_country[t.channel], month, growth))
        for t in sorted(tariffs, key=lambda t: (t.channel, t.provider))
        if t.channel in by_country
    ]


def _alone(tariff: Tariff, by_country: Mapping[str, int], month: date, growth: Fraction) -> Money | None:
    total = 0
    for country, units in by_country.items():
        price = tariff.prices.price(country)
        if price is None:
            return None
        total += units * price.micros
    charged = _charged(growth * sum(by_country.values()), tariff.free.of_month(month))
    return Money(micros=round(growth * total * charged), currency=CURRENCY)


def _charged(units: Fraction, free: int) -> Fraction:
    """The part of the units that is charged."""
    return max(Fraction(), units - free) / units if units else Fraction(1)
