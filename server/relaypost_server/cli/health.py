"""`relaypost health`."""

import sys
import time
from collections.abc import Iterable

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp
from relaypost.v1 import gateway_health_pb2, message_pb2, messaging_service_pb2 as pb, provider_health_pb2
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from relaypost_server.cli._calling import calling
from relaypost_server.cli._common import FAILED, as_json, print_json, target_options
from relaypost_server.cli.arrivals import arrivals

WATCH_SECONDS = 1.0
_CIRCUITS = {
    message_pb2.CIRCUIT_STATE_CLOSED: "[green]● closed[/]",
    message_pb2.CIRCUIT_STATE_HALF_OPEN: "[yellow]◐ half-open[/]",
    message_pb2.CIRCUIT_STATE_OPEN: "[red]○ open[/]",
}


@click.command()
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@target_options
@as_json
def health(target: str, timeout: float, as_json: bool, watch: bool) -> None:
    """Show the state of every provider. Exits 1 if a configured channel has none to offer."""
    with calling(target, as_json=as_json) as client:
        found, gateway = client.provider_health(timeout=timeout), client.gateway_health(timeout=timeout)
        if as_json:
            print_json(MessageToDict(found) | MessageToDict(gateway))
        elif watch:
            with Live(picture(found, gateway), auto_refresh=False) as live:
                try:
                    while True:
                        time.sleep(WATCH_SECONDS)
                        found, gateway = client.provider_health(timeout=timeout), client.gateway_health(timeout=timeout)
                        live.update(picture(found, gateway), refresh=True)
                except KeyboardInterrupt:
                    pass
        else:
            Console().print(picture(found, gateway))
    if any(channel.providers and not channel.serving for channel in found.channels):
        sys.exit(FAILED)


def picture(health: pb.GetProviderHealthResponse, gateway: pb.GetGatewayHealthResponse) -> Group:
    """Tables for each channel, a line for the message log, and one for each background task that fails."""
    log = gateway.message_log
    line = Text.from_markup("message log  " + ("[green]up[/]" if log.available else "[red]down[/]"))
    if log.waiting:
        line.append(f", {log.waiting} records wait, {log.spool_bytes} bytes of them on disk")
    if not log.takes_request_ids:
        line.append(", requests with a request_id are refused")
    parts = [part for channel in health.channels for part in (_channel(channel), arrivals(channel)) if part]
    return Group(*parts, line, *(_task(task) for task in gateway.background_tasks if task.failing))


def _task(task: gateway_health_pb2.BackgroundTask) -> Text:
    line = Text.from_markup(f"background task {escape(task.name)}  [red]failing[/]")
    since = f" since {_ago(task.failing_since)}" if task.HasField("failing_since") else ""
    line.append(f"{since}, {task.consecutive_failures} times; see incident_id {task.last_incident_id} in its log")
    return line


def _channel(channel: provider_health_pb2.ChannelHealth) -> Table | Text:
    name = message_pb2.Channel.Name(channel.channel).removeprefix("CHANNEL_").lower()
    if not channel.providers:
        return Text.from_markup(f"[bold]{name}[/]  [dim]not configured[/]")
    state = "[green]serving[/]" if channel.serving else "[red]not serving[/]"
    table = Table(title=f"{name}  {state}", title_justify="left", title_style="bold", header_style="dim")
    for heading in ("", "provider", "circuit", "recent calls", "last success", "last failure"):
        table.add_column(heading)
    for place, provider in enumerate(channel.providers, start=1):
        table.add_row(str(place), escape(provider.provider), *_cells(provider))
    return table


def _cells(provider: provider_health_pb2.ProviderHealth) -> Iterable[str]:
    circuit = _CIRCUITS.get(provider.circuit_state, "?")
    if provider.circuit_reason:
        reason = provider_health_pb2.CircuitReason.Name(provider.circuit_reason)
        circuit += f"\n[dim]{reason.removeprefix('CIRCUIT_REASON_').replace('_', ' ').lower()}[/]"
    if provider.HasField("retry_time"):
        circuit += f"\n[dim]again in {max(0.0, -_age(provider.retry_time)):.0f} s[/]"
    if provider.HasField("wary_until_time"):
        circuit += f"\n[dim]wary for {max(0.0, -_age(provider.wary_until_time)):.0f} s[/]"
    yield circuit
    yield f"{provider.recent_calls} in {provider.window.seconds} s, {provider.recent_failures} failed"
    yield _ago(provider.last_success_time) if provider.HasField("last_success_time") else "-"
    if not provider.HasField("last_failure_time"):
        yield "-"
        return
    kind = message_pb2.OutcomeKind.Name(provider.last_failure_kind).removeprefix("OUTCOME_KIND_").lower()
    yield f"{_ago(provider.last_failure_time)}, {kind}\n[dim]{escape(provider.last_failure_detail)}[/]"


def _age(moment: Timestamp) -> float:
    return time.time() - moment.ToMicroseconds() / 1e6


def _ago(moment: Timestamp) -> str:
    age = _age(moment)
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60)):
        if age >= seconds:
            return f"{age / seconds:.0f} {unit} ago"
    return f"{max(age, 0):.0f} s ago"
