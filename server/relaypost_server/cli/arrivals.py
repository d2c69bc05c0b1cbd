"""What becomes of messages that providers took, drawn for a terminal."""

from collections.abc import Iterable

from relaypost.v1 import provider_health_pb2 as pb
from rich.markup import escape
from rich.table import Table

WIDTH = 10
"""Characters of a bar."""
GOOD, FAIR = 0.8, 0.5
"""From these parts on a share is green, or yellow."""


def arrivals(channel: pb.ChannelHealth) -> Table | None:
    """A line for each provider and country: what arrived, and how many codes came back; None where nothing is known."""
    rows = [row for provider in channel.providers for row in _rows(provider)]
    if not rows:
        return None
    table = Table(title="arrived", title_justify="left", title_style="dim", header_style="dim", box=None)
    delivered, verified = _heading("delivered", _rates(channel)), _heading("verified", _conversions(channel))
    for heading in ("provider", "country", delivered, verified):
        table.add_column(heading, no_wrap=True)
    table.add_column("the rest")
    for row in rows:
        table.add_row(*row)
    return table


def _rows(provider: pb.ProviderHealth) -> Iterable[tuple[str, ...]]:
    rates = {r.country: r for r in provider.delivery_rates}
    conversions = {c.country: c for c in provider.conversions}
    for country in sorted({*rates, *conversions}):
        rate, conversion = rates.get(country), conversions.get(country)
        yield (
            escape(provider.provider),
            escape(country) or "-",
            _delivered(rate) if rate else "[dim]no receipts[/]",
            _share(conversion.verified, conversion.sent) if conversion else "",
            _others(rate) if rate else "",
        )


def _delivered(rate: pb.DeliveryRate) -> str:
    whole = rate.delivered + rate.undelivered + rate.unknown
    filled = round(rate.delivered / max(whole, 1) * WIDTH)
    bar = f"[{_colour(rate.delivered, whole)}]{'█' * filled}[/][dim]{'░' * (WIDTH - filled)}[/]"
    return f"{bar} {_share(rate.delivered, whole)}"


def _others(rate: pb.DeliveryRate) -> str:
    counts = {
        "lost": rate.undelivered - rate.not_its_fault,
        "not its fault": rate.not_its_fault,
        "unknown": rate.unknown,
    }
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _share(part: int, whole: int) -> str:
    return f"[{_colour(part, whole)}]{part / max(whole, 1):.0%}[/] of {whole:,}"


def _colour(part: int, whole: int) -> str:
    share = part / max(whole, 1)
    return "green" if share >= GOOD else "yellow" if share >= FAIR else "red"


def _rates(channel: pb.ChannelHealth) -> Iterable[int]:
    return (r.window.seconds for p in channel.providers for r in p.delivery_rates)


def _conversions(channel: pb.ChannelHealth) -> Iterable[int]:
    return (c.window.seconds for p in channel.providers for c in p.conversions)


def _heading(name: str, windows: Iterable[int]) -> str:
    """With how far back the counts reach."""
    seconds = max(windows, default=0)
    if not seconds:
        return name
    return f"{name}, {seconds // 3600} h" if seconds >= 2 * 3600 else f"{name}, {seconds // 60} min"
