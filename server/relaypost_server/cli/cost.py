"""`relaypost cost`."""

from datetime import date, datetime
from typing import Any

import click
from relaypost.v1 import admin_service_pb2 as pb, message_pb2
from rich.console import Console

from relaypost_server.cli._calling import calling
from relaypost_server.cli._common import as_json, print_json, target_options
from relaypost_server.cli.cost_chart import picture

_DAY = click.DateTime(formats=["%Y-%m-%d"])
_DIMENSIONS = ("day", "channel", "provider", "country", "caller")
_CHANNELS = ("email", "sms")


@click.command()
@click.option("--from", "first", type=_DAY, help="The first day, of UTC. Default: the month's first.")
@click.option("--to", "last", type=_DAY, help="The last day. Default: today.")
@click.option(
    "--by", type=click.Choice(_DIMENSIONS), multiple=True, help="What to tell apart; repeatable. Default: provider."
)
@click.option("--channel", type=click.Choice(_CHANNELS), help="Only emails, or only text messages.")
@target_options
@as_json
def cost(
    target: str, timeout: float, as_json: bool, first: datetime | None, last: datetime | None, **query: Any
) -> None:
    """Show what messages cost, what failovers added, and what the month will come to."""
    by = [pb.CostDimension.Value(f"COST_DIMENSION_{d.upper()}") for d in query["by"]]
    channel = message_pb2.CHANNEL_UNSPECIFIED
    if query["channel"]:
        channel = message_pb2.Channel.Value(f"CHANNEL_{query['channel'].upper()}")
    days: dict[str, date] = {}
    if first:
        days["first_day"] = first.date()
    if last:
        days["last_day"] = last.date()
    with calling(target, as_json=as_json) as client:
        report = client.cost_report(timeout=timeout, group_by=by, channel=channel, **days)
    if as_json:
        print_json(report)
    else:
        Console(highlight=False).print(picture(report))
