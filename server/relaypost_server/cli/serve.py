"""`relaypost serve`."""

import sys

import click
import uvloop

from relaypost_server import app
from relaypost_server.cli._common import FAILED, MISUSED, as_json
from relaypost_server.cli._configuration import configuration
from relaypost_server.event_loop import Loop
from relaypost_server.settings import SettingsError
from relaypost_server.store.embedded import EmbeddedPostgresError
from relaypost_server.telemetry import logs
from relaypost_server.telemetry.logs import LogFormat
from relaypost_server.telemetry.tracing import TracingError


@click.command()
@as_json
def serve(as_json: bool) -> None:
    """Run the gateway until SIGTERM or Ctrl-C.

    Without any setting it prints messages instead of sending them, and keeps
    its log in a bundled PostgreSQL. docs/settings.md lists every setting.
    """
    run_gateway(serves=True, as_json=as_json)


def run_gateway(*, serves: bool, as_json: bool) -> None:
    """Runs a gateway to its end, and exits where it cannot start."""
    config = configuration()
    style = LogFormat.JSON if as_json else config.gateway.log_format
    logs.configure(level=config.gateway.log_level, style=style)
    try:
        uvloop.run(app.run(config, serves=serves), loop_factory=Loop)
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(MISUSED)
    except (OSError, EmbeddedPostgresError, TracingError) as error:
        click.echo(f"relaypost cannot start: {error}", err=True)
        sys.exit(FAILED)
