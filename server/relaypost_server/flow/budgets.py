"""Keeps to budgets: asks nobody about a send, and the database now and then what all gateways have spent."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

from relaypost_server.core.background import Task
from relaypost_server.core.breaker import Refusal, RefusalReason
from relaypost_server.core.budgets import CURRENCY, OTHERS, Budget, Budgets, Charge, Ledger, Standing
from relaypost_server.core.cost_ports import CostLog
from relaypost_server.core.failover import Attempt
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.tariffs import Tariff, next_month
from relaypost_server.flow.background import Background
from relaypost_server.flow.budget_alerts import BudgetAlerts
from relaypost_server.flow.clock import Clock
from relaypost_server.telemetry.metrics import Metrics

SETTLE_SECONDS = 1.0
"""Within which what has been sent is in the database, if it is there at all."""
THOROUGH_SECONDS = 3600.0
"""How often the whole month is added up, and not today alone: records may come late, and prices do."""
FIRST_SECONDS = 3.0
"""How long a start waits to learn what has been spent."""


class BudgetKeeper(Background):
    """Answers from memory. While the database is away it goes by what it knew, and by what it sends itself."""

    def __init__(
        self,
        budgets: Budgets,
        costs: CostLog,
        tariffs: Sequence[Tariff],
        *,
        refresh_seconds: float,
        on_record: Callable[[], bool],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """`on_record`: whether all that was sent more than a second ago is in the database."""
        self.budgets = budgets
        self._ledger = Ledger(tariffs, budgets.callers)
        self._costs = costs
        self._refresh_seconds = refresh_seconds
        self._on_record = on_record
        self._clock = clock
        self._looked_back = date.min, 0.0
        """On which day, and at which monotonic time, the month's earlier days were added up last."""
        self._alerts = BudgetAlerts(metrics)
        metrics.watch_spend(self._spent)

    async def learn(self) -> None:
        """Learns what has been spent before the first send, unless that takes too long."""
        if self.budgets:
            with contextlib.suppress(TimeoutError, LogUnavailableError):
                async with asyncio.timeout(FIRST_SECONDS):
                    await self.refresh(settle_seconds=0)

    def charge(self, caller: str, attempts: Sequence[Attempt]) -> None:
        """Counts what a walk has cost."""
        if not self.budgets:
            return
        for attempt in attempts:
            outcome = attempt.outcome
            if not outcome.units:
                continue
            estimate = outcome.cost.micros if outcome.cost and outcome.cost.currency == CURRENCY else 0
            charge = Charge(
                day=attempt.start_time.astimezone(UTC).date(),
                provider=attempt.provider,
                caller=caller,
                units=outcome.units,
                unbilled=estimate,
            )
            self._ledger.charge(charge)
            self._watch([attempt.provider], [caller])

    def prefers_others(self, provider: str) -> bool:
        """Whether the provider is past its soft limit, and not yet past the hard one."""
        budget = self.budgets.providers.get(provider)
        return budget is not None and self._standing(budget, self._ledger.provider(provider)) is Standing.PAST_SOFT

    def refusal(self, provider: str, now: float) -> Refusal | None:
        """Why the provider may not be asked any more this month. `now` is monotonic."""
        budget = self.budgets.providers.get(provider)
        if budget is None or self._standing(budget, self._ledger.provider(provider)) is not Standing.PAST_HARD:
            return None
        return Refusal(RefusalReason.BUDGET, now + self._month_left())

    def refuses(self, caller: str) -> bool:
        """Whether the caller has spent its month's budget."""
        budget = self.budgets.of_caller(caller)
        return budget is not None and self._standing(budget, self._ledger.caller(caller)) is Standing.PAST_HARD

    async def refresh(self, *, settle_seconds: float = SETTLE_SECONDS) -> None:
        """Learns what all gateways have spent. Raises LogUnavailableError."""
        today = self._today()
        self._ledger.settle()
        await asyncio.sleep(settle_seconds)
        settled = self._on_record()
        spendings = await self._costs.spendings(today, today, by_caller=True)
        self._ledger.take(spendings, today, today, settled=settled)
        await self._look_back(today)
        self._watch(self.budgets.providers, {s.caller for s in spendings})

    async def _look_back(self, today: date) -> None:
        """Now and then, and after midnight, adds up the month's earlier days anew."""
        now, first, yesterday = self._clock.monotonic(), today.replace(day=1), today - timedelta(days=1)
        day, looked_at = self._looked_back
        if first < today and (day != today or now - looked_at >= THOROUGH_SECONDS):
            earlier = await self._costs.spendings(first, yesterday, by_caller=True)
            self._ledger.take(earlier, first, yesterday, settled=False)
            self._looked_back = today, now

    def tasks(self) -> Sequence[Task]:
        return [Task(name="budgets", round=self.refresh, pause=self._refresh_seconds)]

    def _watch(self, providers: Iterable[str], callers: Iterable[str]) -> None:
        """Raises alerts about those that have reached a limit."""
        month = self._ledger.month
        for name in providers:
            if budget := self.budgets.providers.get(name):
                self._alerts.note("provider", name, budget, self._ledger.provider(name), month, label=name)
        for name in callers:
            if budget := self.budgets.of_caller(name):
                label = name if name in self.budgets.callers else OTHERS
                self._alerts.note("caller", name, budget, self._ledger.caller(name), month, label=label)

    def _standing(self, budget: Budget, spent: int) -> Standing:
        new_month = self._ledger.month < self._today().replace(day=1)
        return budget.standing(0 if new_month else spent)

    def _today(self) -> date:
        return self._clock.wall().astimezone(UTC).date()

    def _month_left(self) -> float:
        """Seconds."""
        now = self._clock.wall()
        end = next_month(now.astimezone(UTC).date())
        return max(0.0, (datetime(end.year, end.month, 1, tzinfo=UTC) - now) / timedelta(seconds=1))

    def _spent(self) -> Iterator[tuple[str, str, int, Budget]]:
        """What metrics show: every provider with a tariff or a budget, every caller with a budget of its own."""
        for provider in {*self._ledger.providers, *self.budgets.providers}:
            yield "provider", provider, self._ledger.provider(provider), self.budgets.providers.get(provider, _NONE)
        for caller in self.budgets.callers.keys() - {OTHERS}:
            yield "caller", caller, self._ledger.caller(caller), self.budgets.callers[caller]


_NONE = Budget()
