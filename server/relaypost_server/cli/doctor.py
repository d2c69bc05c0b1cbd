"""`relaypost doctor`: would failover work right now?"""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import click
from rich.console import Console
from rich.markup import escape

from relaypost_server.cli._common import FAILED, as_json, configuration, print_json
from relaypost_server.config import ChosenProvider, Config
from relaypost_server.core.message import Channel
from relaypost_server.core.ports import Finding, Level
from relaypost_server.store import migrations

CHECK_SECONDS = 20.0
"""A check that takes longer is given up."""
CONSOLE = "console"
ENOUGH = 2
"""Working providers that a channel needs to survive the loss of one."""
_MARKS = {
    Level.OK: "[green]✓[/]",
    Level.WARNING: "[yellow]![/]",
    Level.UNKNOWN: "[yellow]?[/]",
    Level.FAILURE: "[red]✗[/]",
}


@dataclass(frozen=True)
class Report:
    """What was found out about one provider, or about the message log."""

    title: str
    channel: Channel | None
    findings: Sequence[Finding]

    @property
    def fails(self) -> bool:
        return any(f.level is Level.FAILURE for f in self.findings)

    @property
    def works(self) -> bool:
        """Nothing failed, and something was found out: silence is not counted on."""
        return not self.fails and any(f.level in (Level.OK, Level.WARNING) for f in self.findings)


@click.command()
@as_json
def doctor(as_json: bool) -> None:
    """Check the settings, every provider's account, and the message log; send nothing.

    Exits 1 if anything would not work, or if a channel could not survive the
    loss of its first provider.
    """
    reports = asyncio.run(_examine(configuration()))
    verdicts = [_verdict(channel, reports) for channel in Channel]
    if as_json:
        print_json(_plain(reports, verdicts))
    else:
        _print(reports, verdicts)
    if any(r.fails for r in reports) or any(v.level is Level.FAILURE for v in verdicts):
        sys.exit(FAILED)


async def _examine(config: Config) -> list[Report]:
    return list(await asyncio.gather(_database(config), *(_provider(p) for p in config.providers)))


async def _provider(chosen: ChosenProvider) -> Report:
    provider = chosen.build()
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            findings = await provider.check()
    except TimeoutError:
        findings = [Finding(subject="check", level=Level.UNKNOWN, detail="no answer in time")]
    finally:
        await provider.close()
    return Report(chosen.kind.name, chosen.kind.channel, findings)


async def _database(config: Config) -> Report:
    if config.gateway.database_url is None:
        finding = Finding(subject="database", level=Level.OK, detail=f"bundled, in {config.gateway.data_dir}")
        return Report("message log", None, [finding])
    try:
        connection = await asyncpg.connect(config.gateway.database_url.get_secret_value(), timeout=5)
        pending = await migrations.pending(connection)
        await connection.close()
        finding = _schema(len(pending), auto_migrate=config.gateway.auto_migrate)
    except (OSError, asyncpg.PostgresError) as error:
        fix = "Check RELAYPOST_DATABASE_URL."
        finding = Finding(subject="database", level=Level.FAILURE, detail=type(error).__name__, fix=fix)
    return Report("message log", None, [finding])


def _schema(pending: int, *, auto_migrate: bool) -> Finding:
    if pending and not auto_migrate:
        detail = f"connected; {pending} migrations are missing"
        return Finding(subject="database", level=Level.FAILURE, detail=detail, fix="Run `relaypost migrate`.")
    return Finding(subject="database", level=Level.OK, detail="connected")


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
