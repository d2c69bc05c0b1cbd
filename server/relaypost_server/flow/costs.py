"""Reports what messages cost, and foretells the month."""

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, timedelta

from relaypost_server.core.cost_ports import CostLog
from relaypost_server.core.costs import CostReport, Dimension, cost_report
from relaypost_server.core.forecast import Forecast, forecast
from relaypost_server.core.message import Channel
from relaypost_server.core.tariffs import Period, Tariff, next_month
from relaypost_server.flow.clock import Clock


class CostReader:
    """Reads only. Its methods raise LogUnavailableError."""

    def __init__(self, costs: CostLog, tariffs: Sequence[Tariff], *, clock: Clock) -> None:
        self._costs = costs
        self._tariffs = tariffs
        self._clock = clock

    def today(self) -> date:
        """The day of UTC."""
        return self._now().date()

    async def report(
        self, first: date, last: date, *, by: Collection[Dimension], channel: Channel | None
    ) -> CostReport:
        """What the days from `first` to `last` cost."""
        spendings = await self._costs.spendings(
            *self._whole_periods(first, last), channel=channel, by_caller=Dimension.CALLER in by
        )
        return cost_report(spendings, self._tariffs, first=first, last=last, by=by)

    async def forecast(self, *, channel: Channel | None) -> Forecast:
        """What the month of today will have cost."""
        now = self._now()
        month, today = now.date().replace(day=1), now.date()
        spendings = await self._costs.spendings(month, today, channel=channel, by_caller=False)
        return forecast(spendings, self._tariffs, now=now)

    def _whole_periods(self, first: date, last: date) -> tuple[date, date]:
        """Whole months, where a free tier spans them."""
        if not any(t.free.units and t.free.per is Period.MONTH for t in self._tariffs):
            return first, last
        return first.replace(day=1), next_month(last) - timedelta(days=1)

    def _now(self) -> datetime:
        return self._clock.wall().astimezone(UTC)
