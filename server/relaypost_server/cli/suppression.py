"""`relaypost suppression`: the list of addresses that get no more messages."""

import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any, BinaryIO, TextIO

import click
from google.protobuf.json_format import MessageToDict
from relaypost import Client, RelaypostError
from relaypost.v1 import suppression_service_pb2 as pb
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from relaypost_server.cli import suppression_csv
from relaypost_server.cli._calling import calling
from relaypost_server.cli._common import FAILED, MISUSED, as_json, print_json, target_options
from relaypost_server.cli.suppression_csv import HeadingError, Line, reason_of, source_of
from relaypost_server.core.suppression import SuppressionReason, SuppressionSource

BATCH = 500
"""Entries in one call."""

_caller = click.option("--caller", default="", help="Whose list it is. Default: that of callers who give no name.")
_all_callers = click.option("--all-callers", is_flag=True, help="For all callers.")
_filters = (
    click.option("--address", default="", help="Only this address or number."),
    click.option("--reason", type=click.Choice([r.value for r in SuppressionReason]), default=None),
    click.option("--source", type=click.Choice([s.value for s in SuppressionSource]), default=None),
    click.option("--provider", default="", help="Only what this provider told of."),
)


def _filtered(command: Any) -> Any:
    for option in reversed(_filters):
        command = option(command)
    return command


@click.group()
def suppression() -> None:
    """The list of addresses that get no more messages."""


@suppression.command("list")
@_filtered
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1_000_000), help="How many at most.")
@_caller
@target_options
@as_json
def list_suppressions(target: str, timeout: float, as_json: bool, caller: str, limit: int, **query: Any) -> None:
    """Show what is on the list, by address."""
    with calling(target, as_json=as_json, caller=caller) as client:
        found = list(islice(_listed(client, timeout, query), limit))
    if as_json:
        print_json({"suppressions": [MessageToDict(s) for s in found]})
    else:
        Console().print(_table(found))


@suppression.command()
@click.argument("address")
@click.option("--reason", type=click.Choice([r.value for r in SuppressionReason]), default="manual", show_default=True)
@click.option("--until", type=click.DateTime(), help="When it gets messages again, in UTC. Default: never.")
@click.option("--note", default="", help="A note for people.")
@_all_callers
@_caller
@target_options
@as_json
def add(target: str, timeout: float, as_json: bool, caller: str, until: datetime | None, **entry: Any) -> None:
    """Keep messages from an address or number."""
    expire_time = until and until.replace(tzinfo=UTC)
    with calling(target, as_json=as_json, caller=caller) as client:
        answer = client.add_suppression(**entry, expire_time=expire_time, timeout=timeout)
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{answer.suppression.address}  {'added' if answer.changed else 'was on the list'}")


@suppression.command()
@click.argument("address")
@_all_callers
@_caller
@target_options
@as_json
def remove(target: str, timeout: float, as_json: bool, caller: str, address: str, all_callers: bool) -> None:
    """Let an address or number have messages again. Safe to repeat."""
    with calling(target, as_json=as_json, caller=caller) as client:
        removed = client.remove_suppression(address, all_callers=all_callers, timeout=timeout)
    if as_json:
        print_json({"removed": removed})
    else:
        click.echo("removed" if removed else "was not on the list")


@suppression.command()
@_filtered
@click.argument("file", type=click.File("w", encoding="utf-8"), default="-")
@_caller
@target_options
def export(target: str, timeout: float, caller: str, file: TextIO, **query: Any) -> None:
    """Write the list as CSV to FILE, or print it."""
    with calling(target, as_json=False, caller=caller) as client:
        file.write(suppression_csv.heading())
        for each in _listed(client, timeout, query):
            file.write(suppression_csv.written(each))


@suppression.command("import")
@click.argument("file", type=click.File("rb"))
@_caller
@target_options
@as_json
def import_csv(target: str, timeout: float, as_json: bool, caller: str, file: BinaryIO) -> None:
    """Put the addresses of a CSV file on the list. Safe to repeat.

    The first line names the columns, of which only `address` is needed; what
    `export` writes can be read. Every line that is not taken is told by its
    number, and the others are taken; the exit code is then 1.
    """
    done = _Done()
    with calling(target, as_json=as_json, caller=caller) as client:
        try:
            for lines in _batches(suppression_csv.read(file)):
                done.add(client, lines, timeout)
        except HeadingError as error:
            click.echo(str(error), err=True)
            sys.exit(MISUSED)
        except RelaypostError:
            done.tell(err=True)
            click.echo(f"not imported after line {done.last}; repeat the import", err=True)
            raise
    if as_json:
        print_json(done.plain())
    else:
        done.tell()
    if done.problems:
        sys.exit(FAILED)


class _Done:
    """What has become of a file so far."""

    def __init__(self) -> None:
        self.changed = self.unchanged = self.last = 0
        self.problems: list[Line] = []

    def add(self, client: Client, lines: list[Line], timeout: float) -> None:
        good = [(line.number, line.entry) for line in lines if line.entry is not None]
        bad = [line for line in lines if line.entry is None]
        if good:
            answer = client.import_suppressions([entry for _, entry in good], timeout=timeout)
            self.changed += answer.changed
            self.unchanged += answer.unchanged
            bad += [Line(good[p.index][0], field=p.field, description=p.description) for p in answer.problems]
        self.problems += sorted(bad, key=lambda line: line.number)
        self.last = lines[-1].number

    def plain(self) -> dict[str, Any]:
        problems = [{"line": p.number, "field": p.field, "description": p.description} for p in self.problems]
        return {"changed": self.changed, "unchanged": self.unchanged, "problems": problems}

    def tell(self, *, err: bool = False) -> None:
        for problem in self.problems:
            click.echo(
                f"line {problem.number}: {' '.join(filter(None, (problem.field, problem.description)))}", err=True
            )
        click.echo(
            f"{self.changed} added, {self.unchanged} on the list before, {len(self.problems)} not taken", err=err
        )


def _batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    rest = iter(lines)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _listed(client: Client, timeout: float, query: dict[str, Any]) -> Iterator[pb.Suppression]:
    return client.list_suppressions(timeout=timeout, **{name: value for name, value in query.items() if value})


def _table(suppressions: list[pb.Suppression]) -> Table:
    table = Table(header_style="dim", box=None)
    for heading in ("address", "reason", "told by", "since", "until", "note"):
        table.add_column(heading, overflow="fold")
    for each in suppressions:
        until = each.expire_time.ToDatetime().date().isoformat() if each.HasField("expire_time") else ""
        scope = " (all callers)" if each.all_callers else ""
        by = " ".join(filter(None, (each.provider, source_of(each))))
        since = each.create_time.ToDatetime().date().isoformat()
        table.add_row(*(escape(c) for c in (each.address, reason_of(each) + scope, by, since, until, each.note)))
    return table
