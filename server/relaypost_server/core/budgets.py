"""How much may be spent in a month, and how much has been.

Months are those of UTC. What all gateways have spent is known as of a while
ago; what this one has spent since is added to it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum

from relaypost_server.core.costs import Spending
from relaypost_server.core.money import Money
from relaypost_server.core.tariffs import NO_TIER, FreeTier, Tariff

CURRENCY = "USD"
"""Of all budgets and price lists. What was billed in another one counts in no budget."""
OTHERS = "*"
"""Names the budget that each caller has who has none of its own."""
MOST_CALLERS = 10_000
"""Callers without a budget of their own that are counted one by one in a month; the rest are counted together."""


class Standing(StrEnum):
    """Where a spender stands; the values are those of logs and metrics."""

    WITHIN = "within"
    PAST_SOFT = "soft"
    PAST_HARD = "hard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most for one month; None: no limit."""

    soft: Money | None = None
    hard: Money | None = None

    def standing(self, spent: int) -> Standing:
        """After so many millionths."""
        if self.hard is not None and spent >= self.hard.micros:
            return Standing.PAST_HARD
        if self.soft is not None and spent >= self.soft.micros:
            return Standing.PAST_SOFT
        return Standing.WITHIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """The budgets of providers and callers, by their names."""

    providers: Mapping[str, Budget] = field(default_factory=dict)
    callers: Mapping[str, Budget] = field(default_factory=dict)

    def of_caller(self, caller: str) -> Budget | None:
        return self.callers.get(caller) or self.callers.get(OTHERS)

    def __bool__(self) -> bool:
        return bool(self.providers or self.callers)


@dataclass(slots=True)
class _Period:
    """What a provider carried in one period of its free tier, in millionths and units."""

    units: int = 0
    billed: int = 0
    unbilled: int = 0

    def cost(self, free: int) -> int:
        charged = max(0, self.units - free)
        return self.billed + (self.unbilled * charged // self.units if self.units else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one attempt costs, or some together."""

    day: date
    provider: str
    caller: str
    units: int
    billed: int = 0
    unbilled: int
    """The estimate of what was not billed."""


class Ledger:
    """What has been spent in one month. Providers' sums are net of their free tiers, callers' are not."""

    def __init__(
        self,
        tariffs: Iterable[Tariff],
        callers: Mapping[str, Budget] | None = None,
        *,
        most_callers: int = MOST_CALLERS,
    ) -> None:
        """`callers`: their budgets, so that the others need not be counted; None: each is counted.

        Callers choose their names, so there may be any number: `most_callers` bounds those that are counted one by one.
        """
        self._budgets = callers
        self._most_callers = most_callers
        self._counted: set[str] = set()
        """The names that callers were counted under this month."""
        self._tiers: dict[str, FreeTier] = {t.provider: t.free for t in tariffs}
        self._month = date.min
        self._known: dict[date, list[Charge]] = {}
        """By day, what the database knows."""
        self._settling: dict[tuple[date, str, str], Charge] = {}
        self._own: dict[tuple[date, str, str], Charge] = {}
        """This gateway's own; those that are settling are on their way into the database."""
        self._periods: dict[tuple[str, date], _Period] = {}
        self._providers: dict[str, int] = {}
        self._callers: dict[str, int] = {}

    @property
    def month(self) -> date:
        """The first day of the month that is counted."""
        return self._month

    @property
    def providers(self) -> Collection[str]:
        """The names of those that carried anything."""
        return self._providers.keys()

    def provider(self, name: str) -> int:
        """What a provider has cost, in millionths."""
        return self._providers.get(name, 0)

    def caller(self, name: str) -> int:
        """What a caller's messages have cost, in millionths; beyond `most_callers`, those of all the rest."""
        return self._callers.get(self._account(name), 0)

    def charge(self, charge: Charge) -> None:
        """Counts what this gateway has just sent; a new month begins with its first charge."""
        self.turn_to(charge.day)
        charge = self._booked(charge)
        _add(self._own, charge)
        if charge.day.replace(day=1) == self._month:
            self._count(charge)

    def turn_to(self, day: date) -> None:
        """Begins a new month, where the day is in one."""
        if day.replace(day=1) > self._month:
            self._month = day.replace(day=1)
            self._counted.clear()
            self._count_again()

    def settle(self) -> None:
        """What has been charged so far is about to be known to the database."""
        for charge in self._own.values():
            _add(self._settling, charge)
        self._own = {}

    def take(self, spendings: Collection[Spending], first: date, last: date, *, settled: bool) -> None:
        """Takes over what the database knows of these days.

        `settled`: it knows what was charged before `settle`, which is then no longer added.
        """
        known: dict[date, list[Charge]] = {}
        for each in spendings:
            if each.currency == CURRENCY:
                known.setdefault(each.day, []).append(_charge(each))
        known = {day: self._folded(charges) for day, charges in known.items()}
        self._known = {d: c for d, c in self._known.items() if not first <= d <= last} | known
        if settled:
            self._settling = {}
        self.turn_to(last)
        self._count_again()

    def _account(self, caller: str) -> str:
        """Under which name a caller is counted."""
        if self._budgets is not None:
            if caller in self._budgets:
                return caller
            if OTHERS not in self._budgets:
                return OTHERS
        return caller if caller in self._counted or len(self._counted) < self._most_callers else OTHERS

    def _booked(self, charge: Charge) -> Charge:
        account = self._account(charge.caller)
        self._counted.add(account)
        return charge if account == charge.caller else replace(charge, caller=account)

    def _folded(self, charges: Iterable[Charge]) -> list[Charge]:
        """Adds up those that are counted together."""
        folded: dict[tuple[date, str, str], Charge] = {}
        for charge in charges:
            _add(folded, self._booked(charge))
        return list(folded.values())

    def _count_again(self) -> None:
        self._periods, self._providers, self._callers = {}, {}, {}
        self._known = {day: charges for day, charges in self._known.items() if day >= self._month}
        for charges in (*self._known.values(), self._settling.values(), self._own.values()):
            for charge in charges:
                if charge.day.replace(day=1) == self._month:
                    self._count(charge)

    def _count(self, charge: Charge) -> None:
        tier = self._tiers.get(charge.provider, NO_TIER)
        free = tier.units if tier.holds(charge.day) else 0
        period = self._periods.setdefault((charge.provider, tier.period_of(charge.day)), _Period())
        before = period.cost(free)
        period.units += charge.units
        period.billed += charge.billed
        period.unbilled += charge.unbilled
        self._providers[charge.provider] = self.provider(charge.provider) + period.cost(free) - before
        self._callers[charge.caller] = self.caller(charge.caller) + charge.billed + charge.unbilled


def _charge(spending: Spending) -> Charge:
    return Charge(
        day=spending.day,
        provider=spending.provider,
        caller=spending.caller,
        units=spending.units,
        billed=spending.billed,
        unbilled=spending.unbilled,
    )


def _add(charges: dict[tuple[date, str, str], Charge], charge: Charge) -> None:
    key = charge.day, charge.provider, charge.caller
    other = charges.get(key)
    if other is not None:
        charge = Charge(
            day=charge.day,
            provider=charge.provider,
            caller=charge.caller,
            units=charge.units + other.units,
            billed=charge.billed + other.billed,
            unbilled=charge.unbilled + other.unbilled,
        )
    charges[key] = charge
