"""What messages cost: by day, channel, provider, country and caller, and what failovers added to it."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from fractions import Fraction

from relaypost_server.core.message import Channel
from relaypost_server.core.tariffs import FreeUnits, Tariff, Units, free_units


class Dimension(StrEnum):
    """What a report may tell apart."""

    DAY = "day"
    CHANNEL = "channel"
    PROVIDER = "provider"
    COUNTRY = "country"
    CALLER = "caller"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """Attempts that were, or may be, billed, and that have all of these in common; amounts in millionths."""

    day: date
    """On which their messages were taken on."""
    channel: Channel
    provider: str
    first_choice: str
    """The provider that stood first when their messages were sent."""
    duplicate: bool
    """An earlier attempt had, or may have, sent the same message to the same recipients."""
    country: str
    caller: str
    currency: str
    sends: int
    units: int
    estimated: int
    billed: int
    """By the provider's own word, of `billed_sends` of them."""
    billed_sends: int
    unbilled: int
    """The estimate of the others."""
    unpriced: int = 0
    """Sends of which no price is known at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What a line of a report is about; what the report does not tell apart is None."""

    day: date | None = None
    channel: Channel | None = None
    provider: str | None = None
    country: str | None = None
    caller: str | None = None
    currency: str


@dataclass(slots=True, kw_only=True)
class Costs:
    """The sums of one line, in millionths of its currency."""

    sends: int = 0
    units: int = 0
    estimated: int = 0
    billed: int = 0
    billed_sends: int = 0
    unpriced: int = 0
    cost: Fraction = field(default_factory=Fraction)
    """As billed, or as estimated less the free tiers."""
    duplicates: Fraction = field(default_factory=Fraction)
    """The part of `cost` for second copies, or what may be such."""
    dearer: Fraction = field(default_factory=Fraction)
    """The part of `cost` that the first choice would not have charged."""

    def add(self, spending: Spending, free: FreeUnits) -> None:
        cost = cost_of(spending, free)
        self.sends += spending.sends
        self.units += spending.units
        self.estimated += spending.estimated
        self.billed += spending.billed
        self.billed_sends += spending.billed_sends
        self.unpriced += spending.unpriced
        self.cost += cost
        if spending.duplicate:
            self.duplicates += cost
        else:
            self.dearer += _dearer(spending, cost, free)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    """The lines, the largest first or by day, and the total of each currency."""

    lines: Sequence[tuple[Group, Costs]]
    totals: Sequence[tuple[Group, Costs]]


def cost_report(
    spendings: Collection[Spending],
    tariffs: Iterable[Tariff],
    *,
    first: date,
    last: date,
    by: Collection[Dimension],
) -> CostReport:
    """What the days from `first` to `last` cost. The spendings must cover their months, for free tiers span them."""
    free = free_units(tariffs, (carried(s) for s in spendings))
    lines, totals = dict[Group, Costs](), dict[Group, Costs]()
    for spending in spendings:
        if first <= spending.day <= last:
            lines.setdefault(_group(spending, by), Costs()).add(spending, free)
            totals.setdefault(Group(currency=spending.currency), Costs()).add(spending, free)
    return CostReport(lines=sorted(lines.items(), key=_order), totals=sorted(totals.items(), key=_order))


def carried(spending: Spending) -> Units:
    return Units(provider=spending.provider, day=spending.day, units=spending.units)


def cost_of(spending: Spending, free: FreeUnits) -> Fraction:
    """A provider's own price has its free tier in it already."""
    return spending.billed + spending.unbilled * free.charged(spending.provider, spending.day)


def _dearer(spending: Spending, cost: Fraction, free: FreeUnits) -> Fraction:
    """What a failover cost over the price of the provider that stood first, where both are known."""
    if spending.provider == spending.first_choice or spending.first_choice not in free.tariffs:
        return Fraction()
    price = free.tariffs[spending.first_choice].prices.price(spending.country)
    if price is None or price.currency != spending.currency or spending.unpriced:
        return Fraction()
    charged = free.used_up(spending.first_choice, spending.day)
    return max(Fraction(), cost - spending.units * price.micros * charged)


def _group(spending: Spending, by: Collection[Dimension]) -> Group:
    return Group(currency=spending.currency, **{d.value: getattr(spending, d.value) for d in by})


def _order(line: tuple[Group, Costs]) -> tuple[object, ...]:
    group, costs = line
    return (group.day or date.min, -costs.cost, -costs.units, repr(group))
