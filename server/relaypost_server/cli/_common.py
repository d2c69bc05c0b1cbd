"""What several commands share."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

F = TypeVar("F", bound=Callable[..., Any])

FAILED, MISUSED = 1, 2
"""Exit codes: what was asked for did not come about; the command or the settings are wrong."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


class Pair(click.ParamType[tuple[str, str]]):
    """NAME=VALUE."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, text = str(value).partition("=")
        if not equals:
            self.fail("must have the form NAME=VALUE", param, ctx)
        return name, text


def target_options(command: F) -> F:
    """Which gateway to call, and how long to wait for it."""
    for option in (
        click.option("--timeout", default=15.0, show_default=True, help="Seconds to wait."),
        click.option(
            "--target",
            envvar="RELAYPOST_GRPC_ADDRESS",
            default="127.0.0.1:50051",
            show_default=True,
            help="The gateway's gRPC address.",
        ),
    ):
        command = option(command)
    return command


def print_json(value: Message | Mapping[str, Any]) -> None:
    plain = MessageToDict(value) if isinstance(value, Message) else value
    click.echo(json.dumps(plain, indent=2, ensure_ascii=False))
