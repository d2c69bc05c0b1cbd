"""`relaypost doctor`: would failover work right now?"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from relaypost_server.cli._checks import Report, examine
from relaypost_server.cli._common import FAILED, as_json, print_json
from relaypost_server.cli._configuration import configuration
from relaypost_server.core.message import Channel
from relaypost_server.core.ports import Finding, Level
from relaypost_server.telemetry import logs

CONSOLE = "console"
ENOUGH = 2
"""Working providers that a channel needs to survive the loss of one."""
_MARKS = {
    Level.OK: "[green]✓[/]",
    Level.WARNING: "[yellow]![/]",
    Level.UNKNOWN: "[yellow]?[/]",
    Level.FAILURE: "[red]✗[/]",
}


@click.command()
@as_json
def doctor(as_json: bool) -> None:
    """Check the settings, every provider's account, and what the gateway leans on; send nothing.

    Exits 1 if anything would not work, or if a channel could not survive the
    loss of its first provider.
    """
    logs.configure(level="ERROR")  # To standard error; what is wrong with a provider is in the reports.
    reports = asyncio.run(examine(configuration()))
    verdicts = [_verdict(channel, reports) for channel in Channel]
    if as_json:
        print_json(_plain(reports, verdicts))
    else:
        _print(reports, verdicts)
    if any(r.fails for r in reports) or any(v.level is Level.FAILURE for v in verdicts):
        sys.exit(FAILED)


def _verdict(channel: Channel, reports: Sequence[Report]) -> Finding:
    """Whether the channel would survive the loss of its first provider; the console sends nothing."""
    present = [r for r in reports if r.channel is channel]
    real = [r for r in present if r.title != CONSOLE]
    working = [r for r in real if r.works]
    names = ", ".join(r.title for r in working)
    if len(working) >= ENOUGH:
        return Finding(subject=channel.value, level=Level.OK, detail=f"failover would work: {names}")
    if present and not real:
        fix = "Configure real providers; see docs/setup.md."
        return Finding(subject=channel.value, level=Level.WARNING, detail="messages are printed, not sent", fix=fix)
    detail = f"only {names} is known to work: nothing to fail over to" if working else "no provider is known to work"
    return Finding(
        subject=channel.value, level=Level.FAILURE, detail=detail, fix="Configure a second provider; see docs/setup.md."
    )


def _plain(reports: Sequence[Report], verdicts: Sequence[Finding]) -> dict[str, Any]:
    def finding(found: Finding) -> dict[str, str]:
        return {"subject": found.subject, "level": found.level.value, "detail": found.detail, "fix": found.fix}

    return {
        "channels": [finding(v) for v in verdicts],
        "checks": [
            {
                "name": r.title,
                "channel": r.channel.value if r.channel else None,
                "works": r.works,
                "findings": [finding(f) for f in r.findings],
            }
            for r in reports
        ],
    }


def _print(reports: Sequence[Report], verdicts: Sequence[Finding]) -> None:
    console = Console(highlight=False)
    for report in reports:
        console.print(f"[bold]{report.title}[/]" + (f" [dim]{report.channel}[/]" if report.channel else ""))
        for found in report.findings:
            _print_finding(console, found)
    console.print()
    for verdict in verdicts:
        _print_finding(console, verdict)


def _print_finding(console: Console, found: Finding) -> None:
    console.print(f"  {_MARKS[found.level]} {found.subject}: {escape(found.detail)}")
    if found.fix and found.level is not Level.OK:
        console.print(f"    [dim]{escape(found.fix)}[/]")
