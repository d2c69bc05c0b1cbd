"""`relaypost webhook`: who is told of messages, and whether that works."""

from itertools import islice
from typing import Any

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp
from relaypost.v1 import webhook_service_pb2 as pb
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from relaypost_server.cli._calling import calling
from relaypost_server.cli._common import as_json, print_json, target_options
from relaypost_server.core.webhook import EVENT_TYPES, DeliveryState

_caller = click.option(
    "--caller", default="", help="Whose endpoints they are. Default: those of callers without a name."
)


@click.group()
def webhook() -> None:
    """Endpoints that are told of messages, and what they were told."""


@webhook.command("create")
@click.argument("url")
@click.option(
    "--event",
    "event_types",
    type=click.Choice(EVENT_TYPES),
    multiple=True,
    help="Repeatable. Default: all but message.opened and message.clicked.",
)
@click.option("--description", default="", help="A note for people.")
@_caller
@target_options
@as_json
def create_endpoint(target: str, timeout: float, as_json: bool, caller: str, url: str, **wanted: Any) -> None:
    """Register a URL, and print the secret that signs. It is never shown again."""
    with calling(target, as_json=as_json, caller=caller) as client:
        answer = client.create_webhook_endpoint(url, timeout=timeout, **wanted)
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{answer.endpoint.endpoint_id}\n{answer.secret}")


@webhook.command("list")
@_caller
@target_options
@as_json
def list_endpoints(target: str, timeout: float, as_json: bool, caller: str) -> None:
    """List the endpoints, the oldest first."""
    with calling(target, as_json=as_json, caller=caller) as client:
        found = client.list_webhook_endpoints(timeout=timeout)
    if as_json:
        print_json({"endpoints": [MessageToDict(e) for e in found]})
    else:
        Console().print(_endpoints(found))


@webhook.command("delete")
@click.argument("endpoint_id")
@_caller
@target_options
@as_json
def delete_endpoint(target: str, timeout: float, as_json: bool, caller: str, endpoint_id: str) -> None:
    """Forget an endpoint, and whatever it has not been told yet."""
    with calling(target, as_json=as_json, caller=caller) as client:
        client.delete_webhook_endpoint(endpoint_id, timeout=timeout)
    if as_json:
        print_json({})
    else:
        click.echo("deleted")


@webhook.command("enable")
@click.argument("endpoint_id")
@_caller
@target_options
@as_json
def enable_endpoint(target: str, timeout: float, as_json: bool, caller: str, endpoint_id: str) -> None:
    """Use an endpoint again that answered 410 Gone."""
    with calling(target, as_json=as_json, caller=caller) as client:
        endpoint = client.enable_webhook_endpoint(endpoint_id, timeout=timeout)
    if as_json:
        print_json(endpoint)
    else:
        click.echo("enabled")


@webhook.command("rotate")
@click.argument("endpoint_id")
@click.option("--grace", type=float, help="Seconds for which the old secret signs as well. Default: the gateway's.")
@_caller
@target_options
@as_json
def rotate_secret(
    target: str, timeout: float, as_json: bool, caller: str, endpoint_id: str, grace: float | None
) -> None:
    """Make a new secret, and print it. It is never shown again."""
    with calling(target, as_json=as_json, caller=caller) as client:
        answer = client.rotate_webhook_secret(endpoint_id, grace=grace, timeout=timeout)
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{answer.secret}\nthe old one signs until {_moment(answer.old_secrets_expire_time)}")


@webhook.command("deliveries")
@click.option("--endpoint", "endpoint_id", default="", help="Only those to this endpoint.")
@click.option("--state", type=click.Choice([s.value for s in DeliveryState]), default=None)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many at most.")
@_caller
@target_options
@as_json
def list_deliveries(
    target: str, timeout: float, as_json: bool, caller: str, endpoint_id: str, state: str | None, limit: int
) -> None:
    """List what endpoints were told or are to be told, newest first."""
    with calling(target, as_json=as_json, caller=caller) as client:
        deliveries = client.list_webhook_deliveries(endpoint_id=endpoint_id, state=state or "", timeout=timeout)
        found = list(islice(deliveries, limit))
    if as_json:
        print_json({"deliveries": [MessageToDict(d) for d in found]})
    else:
        Console().print(_deliveries(found))


@webhook.command("redeliver")
@click.argument("delivery_id")
@_caller
@target_options
@as_json
def redeliver(target: str, timeout: float, as_json: bool, caller: str, delivery_id: str) -> None:
    """Deliver once more, at once and with all its tries."""
    with calling(target, as_json=as_json, caller=caller) as client:
        delivery = client.redeliver_webhook(delivery_id, timeout=timeout)
    if as_json:
        print_json(delivery)
    else:
        click.echo(f"{delivery.delivery_id}  {_state(delivery)}")


def _endpoints(endpoints: list[pb.WebhookEndpoint]) -> Table:
    table = Table(header_style="dim", box=None)
    table.add_column("endpoint", no_wrap=True, min_width=36)  # Whole, for it has to be copied.
    for heading in ("url", "events", "state"):
        table.add_column(heading, overflow="fold")
    for each in endpoints:
        failing = f"failing, {each.failures} times" if each.failures else "in use"
        state = f"gone since {_moment(each.disable_time)}" if each.HasField("disable_time") else failing
        events = "\n".join(map(_short, each.event_types)) or "all states"
        url = "\n".join(filter(None, (each.url, each.description)))
        table.add_row(*(escape(cell) for cell in (each.endpoint_id, url, events, state)))
    return table


def _deliveries(deliveries: list[pb.WebhookDelivery]) -> Table:
    """Without messages, which --json tells: the ids of both would fill a line."""
    table = Table(header_style="dim", box=None)
    table.add_column("delivery", no_wrap=True, min_width=36)
    for heading in ("event", "state", "tries", "last answer"):
        table.add_column(heading, overflow="fold")
    for each in deliveries:
        answer = each.detail or (f"HTTP {each.http_status}" if each.http_status else "")
        again = f"again {_moment(each.next_attempt_time)}" if each.HasField("next_attempt_time") else ""
        told = ", ".join(filter(None, (answer, again)))
        cells = (each.delivery_id, _short(each.event_type), _state(each), str(each.attempts), told)
        table.add_row(*(escape(cell) for cell in cells))
    return table


def _short(event_type: str) -> str:
    return event_type.removeprefix("message.")


def _state(delivery: pb.WebhookDelivery) -> str:
    return pb.WebhookDeliveryState.Name(delivery.state).removeprefix("WEBHOOK_DELIVERY_STATE_").lower()


def _moment(time: Timestamp) -> str:
    return time.ToDatetime().isoformat(sep=" ", timespec="seconds")
