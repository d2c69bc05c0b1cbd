"""The command `relaypost`."""

import click

from relaypost_server.cli._lazy import LazyGroup

COMMANDS = {
    "serve": "serve:serve",
    "work": "work:work",
    "send-email": "send:send_email",
    "send-sms": "send:send_sms",
    "bulk": "bulk:bulk",
    "dead": "dead:dead",
    "list": "messages:list_messages",
    "get": "messages:get",
    "watch": "messages:watch",
    "resolve": "messages:resolve",
    "health": "health:health",
    "doctor": "doctor:doctor",
    "settings": "settings:settings",
    "template": "template:template",
    "suppression": "suppression:suppression",
    "cost": "cost:cost",
    "admin": "admin:admin",
    "webhook": "webhook:webhook",
    "migrate": "migrate:migrate",
    "demo": "demo:demo",
}
"""In the order of `relaypost --help`, and where each is."""
GATEWAYS = ("serve", "work")
"""The commands that run until a signal ends them."""


@click.group(
    cls=LazyGroup,
    places=COMMANDS,
    gateways=GATEWAYS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="relaypost-server", prog_name="relaypost")
def main() -> None:
    """Relaypost: email and SMS through a chain of providers, by one gRPC call."""
