"""The command `relaypost`."""

import click

from relaypost_server.cli.admin import admin
from relaypost_server.cli.bulk import bulk
from relaypost_server.cli.cost import cost
from relaypost_server.cli.dead import dead
from relaypost_server.cli.demo import demo
from relaypost_server.cli.doctor import doctor
from relaypost_server.cli.health import health
from relaypost_server.cli.messages import list_messages, resolve, watch
from relaypost_server.cli.migrate import migrate
from relaypost_server.cli.send import send_email, send_sms
from relaypost_server.cli.serve import serve
from relaypost_server.cli.settings import settings
from relaypost_server.cli.suppression import suppression
from relaypost_server.cli.template import template
from relaypost_server.cli.webhook import webhook
from relaypost_server.cli.work import work


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="relaypost-server", prog_name="relaypost")
def main() -> None:
    """Relaypost: email and SMS through a chain of providers, by one gRPC call."""


COMMANDS = (
    serve,
    work,
    send_email,
    send_sms,
    bulk,
    dead,
    list_messages,
    watch,
    resolve,
    health,
    doctor,
    settings,
    template,
    suppression,
    cost,
    admin,
    webhook,
    migrate,
    demo,
)
for command in COMMANDS:
    main.add_command(command)
