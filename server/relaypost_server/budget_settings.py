"""The settings of budgets that are not a provider's own."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from relaypost_server.core.budgets import OTHERS, Budget
from relaypost_server.settings import Settings, dollars, prefixed

_LIMITS = {"soft", "hard"}


def _caller_budgets(value: Any) -> Mapping[str, Budget]:
    """Reads {"signup": {"soft": "50", "hard": "100"}, "*": {"hard": "20"}}."""
    if isinstance(value, Mapping):
        return value
    try:
        return {caller: _budget(limits) for caller, limits in json.loads(value).items()}
    except (ValueError, TypeError, AttributeError):
        raise ValueError("is not a table of budgets") from None


def _budget(limits: Mapping[str, Any]) -> Budget:
    if not limits or not limits.keys() <= _LIMITS:
        raise ValueError
    budget = Budget(**{name: dollars(amount) for name, amount in limits.items()})
    if budget.soft and budget.hard and budget.soft.micros > budget.hard.micros:
        raise ValueError
    return budget


class BudgetSettings(Settings):
    """Budgets are in US dollars a month of UTC; those of providers are among the providers' settings."""

    model_config = prefixed()
    title: ClassVar = "Budgets"

    caller_budgets: Annotated[Mapping[str, Budget], BeforeValidator(_caller_budgets)] = Field(
        default_factory=dict,
        description='budgets of callers, as in {"signup": {"soft": "50", "hard": "100"}, "*": {"hard": "20"}}, where '
        f"{OTHERS} is each caller without one of its own; default: none",
    )
    budget_refresh_seconds: Annotated[float, Field(ge=1, le=3600)] = Field(
        60.0, description="how often to learn what all gateways have spent this month, in seconds"
    )
