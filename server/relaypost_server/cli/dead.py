"""`relaypost dead`: messages of the queue that were given up."""

from collections.abc import Iterator
from itertools import islice

import click
from google.protobuf.json_format import MessageToDict
from relaypost import Client
from relaypost.v1 import queue_service_pb2 as pb
from rich.console import Console
from rich.table import Table

from relaypost_server.cli._calling import calling
from relaypost_server.cli._common import as_json, print_json, target_options


@click.group()
def dead() -> None:
    """Queued messages that were given up."""


@dead.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000), help="How many at most.")
@target_options
@as_json
def list_dead(target: str, timeout: float, as_json: bool, limit: int) -> None:
    """Show what was given up, and why, newest first."""
    with calling(target, as_json=as_json) as client:
        found = list(islice(_letters(client, timeout), limit))
    if as_json:
        print_json({"deadLetters": [MessageToDict(letter) for letter in found]})
    else:
        Console().print(_table(found))


@dead.command()
@click.argument("message_ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every message that was given up.")
@target_options
@as_json
def requeue(target: str, timeout: float, as_json: bool, message_ids: tuple[str, ...], everything: bool) -> None:
    """Give messages another chance."""
    with calling(target, as_json=as_json) as client:
        wanted = [x.message.message_id for x in _letters(client, timeout)] if everything else list(message_ids)
        for message_id in wanted:
            client.requeue_message(message_id, timeout=timeout)
    if as_json:
        print_json({"requeued": wanted})
    else:
        click.echo(f"{len(wanted)} messages are in the queue again")


def _letters(client: Client, timeout: float) -> Iterator[pb.DeadLetter]:
    request = pb.ListDeadLettersRequest(page_size=500)
    while True:
        page = client.list_dead_letters(request, timeout=timeout)
        yield from page.dead_letters
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _table(found: list[pb.DeadLetter]) -> Table:
    table = Table("message", "lane", "tries", "to", "why")
    for column in (table.columns[0], table.columns[-1]):  # An id is copied, a reason is read: whole.
        column.no_wrap = True
    for letter in found:
        table.add_row(
            letter.message.message_id,
            pb.Lane.Name(letter.lane).removeprefix("LANE_").lower(),
            str(letter.tries),
            ", ".join(letter.message.recipients),
            letter.reason,
        )
    return table
