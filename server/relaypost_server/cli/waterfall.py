"""The attempts of a message, drawn over time."""

from collections.abc import Sequence

from relaypost.v1 import message_pb2
from rich.markup import escape
from rich.table import Table

WIDEST, NARROWEST = 24, 6
"""Characters of the time axis."""
BESIDE = 70
"""Characters that the other columns may take."""
_COLOURS = {
    message_pb2.OUTCOME_KIND_ACCEPTED: "green",
    message_pb2.OUTCOME_KIND_SKIPPED: "dim",
    message_pb2.OUTCOME_KIND_UNCONFIRMED: "yellow",
}


def waterfall(attempts: Sequence[message_pb2.Attempt], columns: int) -> Table:
    """A line for each attempt: who, when and how long, how it ended and why; for a terminal of so many columns."""
    width = max(NARROWEST, min(WIDEST, columns - BESIDE))
    table = Table(box=None, padding=(0, 1), show_header=False)
    for wrap in (False, False, False, False, False, True):
        table.add_column(no_wrap=not wrap, overflow="fold")
    table.columns[3].justify = "right"
    begin = min((_begin(a) for a in attempts), default=0.0)
    length = max((_begin(a) + _seconds(a) - begin for a in attempts), default=0.0)
    for number, attempt in enumerate(attempts, start=1):
        colour = _COLOURS.get(attempt.kind, "red")
        kind = message_pb2.OutcomeKind.Name(attempt.kind).removeprefix("OUTCOME_KIND_").lower()
        table.add_row(
            f"[dim]{number}[/]",
            escape(attempt.provider),
            f"[{colour}]{_bar(attempt, begin, max(length, 1e-6), width)}[/]",
            f"{_seconds(attempt) * 1000:.1f} ms",
            f"[{colour}]{kind}[/]",
            f"[dim]{escape(attempt.provider_code or attempt.detail)}[/]",
        )
    return table


def _bar(attempt: message_pb2.Attempt, begin: float, length: float, width: int) -> str:
    filled = max(1, round(_seconds(attempt) / length * width))
    before = min(round((_begin(attempt) - begin) / length * width), width - filled)
    mark = "·" if attempt.kind == message_pb2.OUTCOME_KIND_SKIPPED else "█"
    return f"{' ' * before}{mark * filled}".ljust(width)


def _begin(attempt: message_pb2.Attempt) -> float:
    return attempt.start_time.ToNanoseconds() / 1e9


def _seconds(attempt: message_pb2.Attempt) -> float:
    return attempt.duration.ToNanoseconds() / 1e9
