"""`relaypost list`, `relaypost get`, `relaypost watch` and `relaypost resolve`."""

import sys
from itertools import islice
from typing import Any

import click
from google.protobuf.json_format import MessageToDict
from relaypost.v1 import message_pb2
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from relaypost_server.cli._calling import calling
from relaypost_server.cli._common import FAILED, Pair, as_json, print_json, target_options
from relaypost_server.cli.message_view import latest_event, print_message, state_of

_PREFIX = "MESSAGE_STATE_"
_STATES = [
    n.removeprefix(_PREFIX).lower()
    for n in message_pb2.MessageState.DESCRIPTOR.values_by_name
    if not n.endswith("UNSPECIFIED")
]
_FINAL_STATES = (
    message_pb2.MESSAGE_STATE_DELIVERED,
    message_pb2.MESSAGE_STATE_BOUNCED,
    message_pb2.MESSAGE_STATE_COMPLAINED,
    message_pb2.MESSAGE_STATE_REJECTED,
    message_pb2.MESSAGE_STATE_FAILED,
    message_pb2.MESSAGE_STATE_CANCELLED,
    message_pb2.MESSAGE_STATE_DEAD,
)


@click.command("list")
@click.option("--state", type=click.Choice(_STATES), multiple=True, help="Only messages in this state; repeatable.")
@click.option("--recipient", default="", help="Only messages to this address or number.")
@click.option("--provider", default="", help="Only messages that this provider accepted.")
@click.option("--request-id", default="", help="Only messages of requests with this name, by any caller.")
@click.option("--tag", type=Pair(), multiple=True, help="Only messages with this tag; repeatable.")
@click.option("--metadata", type=Pair(), multiple=True, help="Only messages with this note; repeatable.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many at most.")
@target_options
@as_json
def list_messages(
    target: str,
    timeout: float,
    as_json: bool,
    state: tuple[str, ...],
    tag: tuple[tuple[str, str], ...],
    metadata: tuple[tuple[str, str], ...],
    limit: int,
    **query: Any,
) -> None:
    """List messages from the log, newest first: those that pass all filters."""
    query |= {"tags": dict(tag), "metadata": dict(metadata)}
    states = [message_pb2.MessageState.Value(f"{_PREFIX}{s.upper()}") for s in state]
    with calling(target, as_json=as_json) as client:
        found = list(islice(client.list_messages(timeout=timeout, states=states, **query), limit))
    if as_json:
        print_json({"messages": [MessageToDict(m) for m in found]})
    else:
        Console().print(_table(found))


@click.command()
@click.argument("message_id", default="")
@click.option("--provider", default="", help="In place of MESSAGE_ID: the provider that had the message.")
@click.option("--provider-message-id", default="", help="That provider's id of the message.")
@target_options
@as_json
def get(target: str, timeout: float, as_json: bool, message_id: str, provider: str, provider_message_id: str) -> None:
    """Show what the log has of a message: attempts, receipts, and what was changed in it."""
    with calling(target, as_json=as_json) as client:
        message = client.get_message(
            message_id, provider=provider, provider_message_id=provider_message_id, timeout=timeout
        )
    if as_json:
        print_json(message)
    else:
        print_message(Console(), message)


@click.command()
@click.argument("message_id")
@target_options
@as_json
def watch(target: str, timeout: float, as_json: bool, message_id: str) -> None:
    """Follow a message until it is delivered, or is known not to be.

    Ends after --timeout seconds at the latest; then the exit code is 1.
    """
    message = None
    with calling(target, as_json=as_json) as client:
        for message in client.watch_message(message_id, timeout=timeout):
            if as_json:
                print_json(message)
            else:
                click.echo(_news(message))
    if message is None or message.state not in _FINAL_STATES:
        sys.exit(FAILED)


@click.command()
@click.argument("message_id")
@click.option("--sent/--not-sent", required=True, default=None, help="What became of the message.")
@target_options
@as_json
def resolve(target: str, timeout: float, as_json: bool, message_id: str, sent: bool) -> None:
    """Settle an UNCONFIRMED message, once you have found out whether it was sent.

    A message that was not sent may be sent by repeating its request.
    """
    with calling(target, as_json=as_json) as client:
        message = client.resolve_message(message_id, sent=sent, timeout=timeout)
    if as_json:
        print_json(message)
    else:
        click.echo(f"{message.message_id}  {state_of(message)}")


def _news(message: message_pb2.Message) -> str:
    """A line on the message as it is now, with what its provider reported last."""
    line = f"{message.update_time.ToDatetime().isoformat(sep=' ', timespec='seconds')}  {state_of(message)}"
    event = latest_event(message)
    return f"{line}  ({event})" if event else line


def _table(messages: list[message_pb2.Message]) -> Table:
    table = Table(header_style="dim", box=None)
    table.add_column("message", no_wrap=True, min_width=36)  # Whole, for it has to be copied.
    for heading in ("state", "recipients", "attempts"):
        table.add_column(heading, overflow="fold")
    for message in messages:
        tried = ", ".join(
            f"{a.provider} {message_pb2.OutcomeKind.Name(a.kind).removeprefix('OUTCOME_KIND_').lower()}"
            for a in message.attempts
        )
        cells = (message.message_id, state_of(message), ", ".join(message.recipients), tried)
        table.add_row(*(escape(cell) for cell in cells))
    return table
