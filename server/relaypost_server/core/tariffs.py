"""What providers charge: a price for each unit, and units that are free in each day or month. Days are UTC's."""

import calendar
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from fractions import Fraction

from relaypost_server.core.message import Channel
from relaypost_server.core.money import PriceList


class Period(StrEnum):
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeTier:
    """The first `units` of each period cost nothing."""

    units: int
    per: Period = Period.MONTH
    until: date | None = None
    """The last day on which the tier holds, as for a vendor's first year; None: it goes on."""

    def holds(self, day: date) -> bool:
        return self.until is None or day <= self.until

    def period_of(self, day: date) -> date:
        """The first day of the period in which the day is."""
        return day if self.per is Period.DAY else day.replace(day=1)

    def of_month(self, month: date) -> int:
        """Free units in the whole month that begins on this day."""
        if self.per is Period.MONTH:
            return self.units if self.holds(month) else 0
        return self.units * sum(self.holds(month + timedelta(days=n)) for n in range(days_in(month)))


NO_TIER = FreeTier(units=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """The prices of one provider of the gateway."""

    provider: str
    channel: Channel
    prices: PriceList
    free: FreeTier = NO_TIER


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """What one provider carried on one day."""

    provider: str
    day: date
    units: int


@dataclass(frozen=True, slots=True)
class FreeUnits:
    """How far the free tiers of all providers are used, period by period.

    Which of a period's messages were the free ones nobody can say: all of them
    share the tier in equal parts.
    """

    tariffs: Mapping[str, Tariff]
    _totals: Mapping[tuple[str, date], int] = field(repr=False)

    def charged(self, provider: str, day: date) -> Fraction:
        """The part of the units of that day that is charged, 0 to 1."""
        free, total = self._of(provider, day)
        return Fraction(max(0, total - free), total) if total else Fraction(1)

    def used_up(self, provider: str, day: date) -> bool:
        """Whether one more unit of the period would be charged."""
        free, total = self._of(provider, day)
        return total >= free

    def _of(self, provider: str, day: date) -> tuple[int, int]:
        tier = self.tariffs[provider].free if provider in self.tariffs else NO_TIER
        free = tier.units if tier.holds(day) else 0
        return free, self._totals.get((provider, tier.period_of(day)), 0)


def free_units(tariffs: Iterable[Tariff], carried: Iterable[Units]) -> FreeUnits:
    """`carried` must cover every period, as a whole, that is asked about afterwards."""
    known = {t.provider: t for t in tariffs}
    totals = dict[tuple[str, date], int]()
    for each in carried:
        tier = known[each.provider].free if each.provider in known else NO_TIER
        key = each.provider, tier.period_of(each.day)
        totals[key] = totals.get(key, 0) + each.units
    return FreeUnits(known, totals)


def days_in(month: date) -> int:
    """The length of the month of a day."""
    return calendar.monthrange(month.year, month.month)[1]


def next_month(day: date) -> date:
    """The first day of the month after."""
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
