"""A message, drawn for a terminal."""

from collections.abc import Iterable, Mapping

from google.protobuf.timestamp_pb2 import Timestamp
from relaypost.v1 import message_pb2
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from relaypost_server.cli.waterfall import waterfall


def state_of(message: message_pb2.Message) -> str:
    """In lower case, for example "sent"."""
    return message_pb2.MessageState.Name(message.state).removeprefix("MESSAGE_STATE_").lower()


def print_result(console: Console, message: message_pb2.Message) -> None:
    """What became of a message: a line, its attempts, and what was changed in it."""
    note = ", possibly twice" if message.possible_duplicate else ""
    by = f" by {message.provider}" if message.provider else ""
    console.print(f"{message.message_id}  {state_of(message)}{escape(by)}{note}", highlight=False, soft_wrap=True)
    console.print(waterfall(message.attempts, console.width))
    if message.adjustments:
        console.print(_adjustments(message.adjustments))


def print_message(console: Console, message: message_pb2.Message) -> None:
    """Everything that the log has of a message."""
    print_result(console, message)
    about = {
        "from": message.sender,
        "to": ", ".join(message.recipients),
        "created": _time(message.create_time),
        "provider's id": message.provider_message_id,
        "tags": _pairs(message.tags),
        "metadata": _pairs(message.metadata),
    }
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in about.items():
        if value:
            table.add_row(name, escape(value))
    console.print(table)
    if message.events:
        console.print(_events(message.events))


def latest_event(message: message_pb2.Message) -> str:
    """What a provider reported last, and of whom where it was sent to several; "" where none reported anything."""
    if not message.events:
        return ""
    event = message.events[-1]
    named = ", ".join(event.recipients) if len(message.recipients) > 1 else ""
    told = (f"{event.provider} {_kind(event)}", event.provider_code, event.detail, named and f"of {named}")
    return ", ".join(filter(None, told))


def _events(events: Iterable[message_pb2.DeliveryEvent]) -> Table:
    table = _headed("receipts", "time", "what", "code", "recipients", "detail")
    for event in events:
        cells = (
            _time(event.event_time),
            f"{event.provider} {_kind(event)}",
            event.provider_code,
            ", ".join(event.recipients),
            event.detail,
        )
        table.add_row(*(escape(cell) for cell in cells))
    return table


def _adjustments(adjustments: Iterable[message_pb2.Adjustment]) -> Table:
    table = _headed("changed", "field", "how", "what")
    for adjustment in adjustments:
        kind = message_pb2.AdjustmentKind.Name(adjustment.kind).removeprefix("ADJUSTMENT_KIND_").lower()
        table.add_row(escape(adjustment.field), kind, escape(adjustment.description))
    return table


def _headed(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="dim", header_style="dim", box=None)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _kind(event: message_pb2.DeliveryEvent) -> str:
    return message_pb2.DeliveryEventType.Name(event.type).removeprefix("DELIVERY_EVENT_TYPE_").lower()


def _pairs(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(values.items()))


def _time(moment: Timestamp) -> str:
    return moment.ToDatetime().isoformat(sep=" ", timespec="seconds")
