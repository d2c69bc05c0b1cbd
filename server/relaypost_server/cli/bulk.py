"""`relaypost bulk`: a message for each line of a CSV file."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
from relaypost import Client, RelaypostError
from relaypost.v1 import message_pb2, queue_service_pb2 as pb
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from relaypost_server.cli._calling import calling
from relaypost_server.cli._common import FAILED, MISUSED, as_json, print_json, target_options
from relaypost_server.cli.bulk_csv import CsvError, Lines, count_lines, messages_of

WATCH_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What is to be sent, and when."""

    path: Path
    name: str
    template: str
    channel: str
    sender: str
    schedule: dict[str, Any]
    console: Console
    lines: int = field(default=0)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--template", default="", help="The template to fill in; the columns are its variables.")
@click.option("--channel", type=click.Choice(["email", "sms"]), default="email", show_default=True)
@click.option("--sender", default="", help="The sender of emails. Default: the gateway's own.")
@click.option("--name", default="", help="Names the batch. Default: made of file, channel and template.")
@click.option("--lane", type=click.Choice(["otp", "transactional", "bulk"]), default="bulk", show_default=True)
@click.option("--send-at", type=click.DateTime(), help="When to send, in UTC. Default: at once.")
@click.option("--caller", default="", help="Who sends.")
@click.option("--dry-run", is_flag=True, help="Check and count every line, and send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask after the dry run.")
@click.option("--watch", is_flag=True, help="Wait until everything is sent.")
@target_options
@as_json
def bulk(
    target: str,
    timeout: float,
    as_json: bool,
    file: Path,
    template: str,
    channel: str,
    sender: str,
    name: str,
    lane: str,
    send_at: datetime | None,
    caller: str,
    dry_run: bool,
    yes: bool,
    watch: bool,
) -> None:
    """Queue a message for each line of a CSV file, after a dry run.

    The first line names the columns. `to` is needed; `name`, `locale`,
    `subject`, `text` and `html` mean what they say; with --template every other
    column is a variable. A run that was interrupted goes on where it was when
    it is repeated.
    """
    schedule = {"lane": lane} | ({"send_at": send_at.replace(tzinfo=UTC)} if send_at else {})
    try:
        order = _Order(
            path=file,
            name=name or _name_of(file, f"{channel} {template}"),
            template=template,
            channel=channel,
            sender=sender,
            schedule=schedule,
            console=Console(stderr=True, quiet=as_json),
            lines=count_lines(file),
        )
        with calling(target, as_json=as_json, caller=caller) as client:
            checked = _checked(client, order)
            if dry_run or not checked.valid_count:
                _end(checked, as_json=as_json)
            if not yes and not click.confirm(f"Queue {checked.valid_count} messages?", err=True):
                sys.exit(FAILED)
            answer = _queued(client, order)
            if watch:
                _watched(client, order, answer.batch)
            _end(answer, as_json=as_json)
    except CsvError as error:
        click.echo(f"{file}: {error}", err=True)
        sys.exit(MISUSED)


def _name_of(path: Path, what: str) -> str:
    with path.open("rb") as file:
        digest = sha256(what.encode())
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return f"csv-{digest.hexdigest()[:32]}"


def _checked(client: Client, order: _Order) -> pb.SendBulkResponse:
    """The dry run."""
    answer = _streamed(client, order, "checking", after=0, validate_only=True)
    order.console.print(f"{answer.valid_count} messages are valid, {answer.refused_count} are not")
    for refusal in answer.refusals[:10]:
        order.console.print(f"  line {refusal.position + 1}: {refusal.field} {refusal.description}", markup=False)
    if answer.segments:
        order.console.print(f"{answer.segments} segments")
    if answer.HasField("estimated_cost"):
        cost = answer.estimated_cost
        order.console.print(f"estimated cost: {cost.micros / 1_000_000:.2f} {cost.currency_code}")
    return answer


def _queued(client: Client, order: _Order) -> pb.SendBulkResponse:
    """Queues what is not queued yet."""
    stored = _stored(client, order.name)
    if stored:
        order.console.print(f"{stored} lines were queued before")
    try:
        return _streamed(client, order, "queueing", after=stored, validate_only=False)
    except KeyboardInterrupt:
        order.console.print("interrupted: repeat the command to go on")
        sys.exit(FAILED)


def _stored(client: Client, name: str) -> int:
    try:
        return client.get_batch(name).stored
    except RelaypostError as error:
        if error.reason == "BATCH_NOT_FOUND":
            return 0
        raise


def _streamed(client: Client, order: _Order, what: str, *, after: int, validate_only: bool) -> pb.SendBulkResponse:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=order.console) as progress:
        task = progress.add_task(what, total=order.lines, completed=after)

        def messages() -> Iterator[pb.BulkMessage]:
            lines = Lines(path=order.path, template=order.template, channel=order.channel, sender=order.sender)
            for message in messages_of(lines):
                if message.position > after:
                    progress.update(task, completed=message.position)
                    yield message

        return client.send_bulk(order.name, messages(), validate_only=validate_only, **order.schedule)


def _watched(client: Client, order: _Order, batch: pb.Batch) -> None:
    """Draws how far the batch is, until nothing of it waits."""
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=order.console) as progress:
        task = progress.add_task("sending", total=batch.size)
        request = pb.WatchBatchRequest(batch_id=batch.batch_id)
        for answer in client.queue.WatchBatch(request, timeout=WATCH_SECONDS):
            batch.CopyFrom(answer.batch)
            waiting = sum(s.count for s in batch.states if s.state in _WAITING)
            progress.update(task, completed=batch.size - waiting)


_WAITING = (message_pb2.MESSAGE_STATE_QUEUED, message_pb2.MESSAGE_STATE_SENDING)


def _end(answer: pb.SendBulkResponse, *, as_json: bool) -> None:
    """Prints what came of it; exits with 1 where a line was refused."""
    if as_json:
        print_json(answer)
    elif answer.batch.batch_id:
        names = {s.state: message_pb2.MessageState.Name(s.state)[14:].lower() for s in answer.batch.states}
        states = ", ".join(f"{s.count} {names[s.state]}" for s in answer.batch.states)
        click.echo(f"batch {answer.batch.batch_id}: {answer.batch.size} messages ({states})")
    sys.exit(FAILED if answer.refused_count else 0)
