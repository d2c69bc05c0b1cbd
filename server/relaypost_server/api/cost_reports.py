"""Reads requests for reports of costs, and packs the reports."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from relaypost.v1 import admin_service_pb2 as pb, message_pb2

from relaypost_server.api import pack
from relaypost_server.api.request_keys import read_channel
from relaypost_server.api.violations import Violations
from relaypost_server.core.costs import CostReport, Costs, Dimension, Group
from relaypost_server.core.forecast import Forecast
from relaypost_server.core.message import Channel
from relaypost_server.core.money import Money

LONGEST_REPORT = 366
"""Days."""
MOST_LINES = 5000
DEFAULT = (Dimension.CHANNEL, Dimension.PROVIDER)
_DIMENSIONS = {pb.CostDimension.Value(f"COST_DIMENSION_{d.name}"): d for d in Dimension}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A report to be made."""

    first: date
    last: date
    by: Collection[Dimension]
    channel: Channel | None


def read_request(request: pb.GetCostReportRequest, today: date, bad: Violations) -> Wanted:
    last = _day("last_day", request.last_day, today, bad)
    first = _day("first_day", request.first_day, last.replace(day=1), bad)
    if not 0 <= (last - first).days <= LONGEST_REPORT:
        bad.add("first_day", f"must be at most {LONGEST_REPORT} days before last_day, and not after it")
    if not all(d in _DIMENSIONS for d in request.group_by) or len(set(request.group_by)) != len(request.group_by):
        bad.add("group_by", "holds an unknown dimension, or one twice")
    by = tuple(_DIMENSIONS[d] for d in request.group_by if d in _DIMENSIONS) or DEFAULT
    return Wanted(first=first, last=last, by=by, channel=read_channel("channel", request.channel, bad))


def pack_report(wanted: Wanted, report: CostReport, forecast: Forecast) -> pb.GetCostReportResponse:
    """Raises InvalidRequestError where the lines are too many for one answer."""
    if len(report.lines) > MOST_LINES:
        bad = Violations()
        bad.add("group_by", f"makes {len(report.lines)} lines of these days, at most {MOST_LINES} fit into an answer")
        bad.check()
    return pb.GetCostReportResponse(
        first_day=wanted.first.isoformat(),
        last_day=wanted.last.isoformat(),
        lines=[_line(group, costs) for group, costs in report.lines],
        totals=[_costs(group, costs) for group, costs in report.totals],
        forecast=_forecast(forecast),
    )


def _day(field: str, value: str, default: date, bad: Violations) -> date:
    if not value:
        return default
    try:
        day = date.fromisoformat(value)
    except ValueError:
        bad.add(field, "is not a day such as 2026-07-01")
        return default
    if not date(2000, 1, 1) <= day <= date(2999, 12, 31):
        bad.add(field, "is not a day of the years 2000 to 2999")
        return default
    return day


def _line(group: Group, costs: Costs) -> pb.CostLine:
    return pb.CostLine(
        day=group.day.isoformat() if group.day else "",
        channel=pack.CHANNELS[group.channel] if group.channel else message_pb2.CHANNEL_UNSPECIFIED,
        provider=group.provider or "",
        country=group.country or "",
        caller=group.caller or "",
        costs=_costs(group, costs),
    )


def _costs(group: Group, costs: Costs) -> pb.Costs:
    def amount(micros: int | Fraction) -> message_pb2.Money | None:
        return pack.money(Money(micros=round(micros), currency=group.currency))

    return pb.Costs(
        sends=costs.sends,
        units=costs.units,
        estimated=amount(costs.estimated),
        billed=amount(costs.billed),
        billed_sends=costs.billed_sends,
        cost=amount(costs.cost),
        duplicates=amount(costs.duplicates),
        dearer_failovers=amount(costs.dearer),
        unpriced_sends=costs.unpriced,
    )


def _forecast(forecast: Forecast) -> pb.CostForecast:
    return pb.CostForecast(
        month=forecast.month.isoformat(),
        elapsed=forecast.elapsed,
        lines=[
            pb.ForecastLine(
                channel=pack.CHANNELS[line.channel],
                provider=line.provider,
                units_so_far=line.units_so_far,
                units=line.units,
                free_units=line.free_units,
                cost_so_far=pack.money(line.cost_so_far),
                cost=pack.money(line.cost),
            )
            for line in forecast.lines
        ],
        alternatives=[
            pb.Alternative(channel=pack.CHANNELS[a.channel], provider=a.provider, cost=pack.money(a.cost))
            for a in forecast.alternatives
        ],
    )
