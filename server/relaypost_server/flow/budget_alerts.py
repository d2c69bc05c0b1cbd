"""Tells once a month of each limit of a budget that is reached."""

from datetime import date

import structlog

from relaypost_server.core.budgets import CURRENCY, Budget, Standing
from relaypost_server.core.money import MICROS
from relaypost_server.telemetry.metrics import Metrics

MOST_TOLD = 10_000
"""Spenders that are remembered; callers name themselves, so there may be any number."""
_RANK = {Standing.WITHIN: 0, Standing.PAST_SOFT: 1, Standing.PAST_HARD: 2}

log = structlog.get_logger("relaypost.budgets")


class BudgetAlerts:
    """Each gateway tells for itself."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._told: dict[tuple[str, str], tuple[date, Standing]] = {}

    def note(self, kind: str, name: str, budget: Budget, spent: int, month: date, *, label: str) -> None:
        """`kind`: provider or caller. `spent`: millionths, in that month. `label`: the name in metrics."""
        standing = budget.standing(spent)
        told_of, told = self._told.get((kind, name), (date.min, Standing.WITHIN))
        if told_of == month and _RANK[told] >= _RANK[standing]:
            return
        if standing is Standing.WITHIN:
            return
        if len(self._told) >= MOST_TOLD:
            self._told.clear()
        self._told[kind, name] = month, standing
        self._metrics.budget_alert(kind, label, standing.value)
        limit = budget.hard if standing is Standing.PAST_HARD else budget.soft
        log.warning(
            "budget reached",
            kind=kind,
            name=name,
            limit=standing.value,
            amount=limit and limit.micros / MICROS,
            spent=spent / MICROS,
            currency=CURRENCY,
        )
