"""The attempts of a message, drawn over time."""

from collections.abc import Sequence

from relaypost.v1 import message_pb2
from rich.markup import escape
from rich.table import Table

WIDTH = 30
_COLOURS = {
    message_pb2.OUTCOME_KIND_ACCEPTED: "green",
    message_pb2.OUTCOME_KIND_SKIPPED: "dim",
    message_pb2.OUTCOME_KIND_UNCONFIRMED: "yellow",
}


def waterfall(attempts: Sequence[message_pb2.Attempt]) -> Table:
    """A line for each attempt: where it began, how long it took, how it ended."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    if not attempts:
        return table
    begin = _milliseconds(attempts[0])
    end = max(_milliseconds(a) + a.duration.ToMilliseconds() for a in attempts)
    scale = WIDTH / max(end - begin, 1)
    for number, attempt in enumerate(attempts, start=1):
        colour = _COLOURS.get(attempt.kind, "red")
        before = min(int((_milliseconds(attempt) - begin) * scale), WIDTH - 1)
        length = max(1, round(attempt.duration.ToMilliseconds() * scale))
        bar = " " * before + ("·" if attempt.kind == message_pb2.OUTCOME_KIND_SKIPPED else "█" * length)
        kind = message_pb2.OutcomeKind.Name(attempt.kind).removeprefix("OUTCOME_KIND_").lower()
        table.add_row(
            str(number),
            escape(attempt.provider),
            f"[{colour}]{bar[:WIDTH]:{WIDTH}}[/]",
            f"{attempt.duration.ToMicroseconds() / 1000:.1f} ms",
            f"[{colour}]{kind}[/]",
            escape(attempt.provider_code or attempt.detail),
        )
    return table


def _milliseconds(attempt: message_pb2.Attempt) -> int:
    return attempt.start_time.ToMilliseconds()
