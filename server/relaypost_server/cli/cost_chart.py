"""A report of costs, drawn for a terminal."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from relaypost.v1 import admin_service_pb2 as pb, message_pb2
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from relaypost_server.core.money import MICROS

WIDEST = 30
"""Characters of the longest bar."""
_PARTS = " ▏▎▍▌▋▊▉"
"""Eighths of a character."""


def picture(report: pb.GetCostReportResponse) -> Group:
    """The lines with a bar each, the totals, and the forecast."""
    title = Text.from_markup(f"[bold]{report.first_day} to {report.last_day}[/]")
    if not report.lines:
        return Group(title, Text("  nothing was sent"), *_forecast(report.forecast))
    return Group(title, _lines(report.lines), *_totals(report.totals), *_forecast(report.forecast))


def amount(money: message_pb2.Money) -> str:
    """Cents, and what is smaller where there would be nothing to see."""
    value = money.micros / MICROS
    digits = 2 if value == 0 or value >= 0.1 else 6
    return f"{value:,.{digits}f} {money.currency_code}"


def bar(part: float) -> str:
    """`part` is from 0 to 1."""
    eighths = round(part * WIDEST * 8)
    return ("█" * (eighths // 8) + _PARTS[eighths % 8]).rstrip() or ("▏" if part > 0 else "")


def _lines(lines: Sequence[pb.CostLine]) -> Table:
    table = Table(header_style="dim", box=None, padding=(0, 1))
    for heading in ("", "sends", "units", "cost", ""):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    dearest = {currency: max(c.cost.micros for c in costs) for currency, costs in _by_currency(lines)}
    for line in lines:
        costs = line.costs
        most = dearest[costs.cost.currency_code]
        drawn = bar(costs.cost.micros / most) if most else ""
        table.add_row(
            escape(_name(line)),
            f"{costs.sends:,}",
            f"{costs.units:,}",
            amount(costs.cost),
            f"[cyan]{drawn}[/]" + _remark(costs),
        )
    return table


def _by_currency(lines: Iterable[pb.CostLine]) -> Iterable[tuple[str, list[pb.Costs]]]:
    ordered = sorted((line.costs for line in lines), key=lambda c: c.cost.currency_code)
    for currency, costs in groupby(ordered, key=lambda c: c.cost.currency_code):
        yield currency, list(costs)


def _name(line: pb.CostLine) -> str:
    parts = (line.day, channel_name(line.channel), line.provider, line.country, line.caller)
    return " ".join(filter(None, parts)) or "-"


def _remark(costs: pb.Costs) -> str:
    return f" [yellow]{costs.unpriced_sends:,} without a price[/]" if costs.unpriced_sends else ""


def _totals(totals: Sequence[pb.Costs]) -> Iterable[Text]:
    for total in totals:
        yield Text.from_markup(f"  [bold]total[/] {amount(total.cost)}  [dim]{_composition(total)}[/]")
        if total.duplicates.micros:
            yield Text(f"  second copies {amount(total.duplicates)}", style="yellow")
        if total.dearer_failovers.micros:
            yield Text(f"  dearer than the first choice {amount(total.dearer_failovers)}", style="yellow")


def _composition(total: pb.Costs) -> str:
    told = f"{total.billed_sends:,} of {total.sends:,} sends as billed, the others as estimated"
    return told if total.billed_sends else f"as estimated at {amount(total.estimated)}, less the free tiers"


def _forecast(forecast: pb.CostForecast) -> Iterable[Text | Table]:
    if not forecast.lines:
        return
    yield Text()
    over = f"[dim]({forecast.elapsed:.0%} over)[/]"
    yield Text.from_markup(f"[bold]{forecast.month[:7]}, if it goes on as it began[/] {over}")
    table = Table(header_style="dim", box=None, padding=(0, 1))
    for heading in ("", "units", "free", "cost", ""):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for channel in sorted({line.channel for line in forecast.lines}):
        lines = [line for line in forecast.lines if line.channel == channel]
        for line in lines:
            free = f"{line.free_units:,}" if line.free_units else "-"
            name = escape(f"{channel_name(channel)} {line.provider}")
            table.add_row(name, f"{line.units:,}", free, amount(line.cost))
        for other in _others(forecast, lines):
            name = f"[dim]  all by {escape(other.provider)}[/]"
            whole = sum(line.cost.micros for line in lines)
            table.add_row(name, "", "", f"[dim]{amount(other.cost)}[/]", _saving(other.cost, whole))
    yield table


def _others(forecast: pb.CostForecast, lines: Sequence[pb.ForecastLine]) -> Iterable[pb.Alternative]:
    """What else could carry the lines' channel, at a known price."""
    as_it_is = [line.provider for line in lines]
    for other in forecast.alternatives:
        if other.channel == lines[0].channel and other.HasField("cost") and [other.provider] != as_it_is:
            yield other


def _saving(alone: message_pb2.Money, whole: int) -> str:
    """What the chain as it is saves beside one provider alone, or what that one would save."""
    difference = message_pb2.Money(micros=abs(alone.micros - whole), currency_code=alone.currency_code)
    if not difference.micros:
        return ""
    return f"[green]{amount(difference)} saved[/]" if alone.micros > whole else f"[yellow]{amount(difference)} less[/]"


def channel_name(channel: "message_pb2.Channel.ValueType") -> str:
    return "" if not channel else message_pb2.Channel.Name(channel).removeprefix("CHANNEL_").lower()
