"""`relaypost work`."""

import click

from relaypost_server.cli._common import as_json
from relaypost_server.cli.serve import run_gateway


@click.command()
@as_json
def work(as_json: bool) -> None:
    """Send what is queued, until SIGTERM or Ctrl-C, without serving gRPC.

    Any number of these may run beside gateways on the same database. Health
    and metrics are served at RELAYPOST_HTTP_ADDRESS.
    """
    run_gateway(serves=False, as_json=as_json)
