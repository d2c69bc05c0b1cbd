"""What several commands share."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from relaypost import Client, InvalidRequestError, RelaypostError, SendFailedError
from rich.console import Console

from relaypost_server.cli.waterfall import waterfall
from relaypost_server.config import Config, load, load_env_file
from relaypost_server.settings import SettingsError

F = TypeVar("F", bound=Callable[..., Any])

FAILED, MISUSED = 1, 2
"""Exit codes: what was asked for did not come about; the command or the settings are wrong."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


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


def configuration() -> Config:
    """The settings, or the end of the program with everything that is wrong with them."""
    try:
        load_env_file(os.environ)
        return load(os.environ)
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(MISUSED)


@contextmanager
def calling(target: str, *, as_json: bool, caller: str = "") -> Iterator[Client]:
    """A client; a call that fails ends the program with an explanation."""
    with Client(target, caller=caller) as client:
        try:
            yield client
        except RelaypostError as error:
            _explain(error, target, as_json=as_json)


def print_json(value: Message | Mapping[str, Any]) -> None:
    plain = MessageToDict(value) if isinstance(value, Message) else value
    click.echo(json.dumps(plain, indent=2, ensure_ascii=False))


def _explain(error: RelaypostError, target: str, *, as_json: bool) -> NoReturn:
    if as_json:
        print_json(error.as_dict())
    elif isinstance(error, InvalidRequestError):
        for violation in error.violations:
            click.echo(f"{violation.field} {violation.description}", err=True)
    else:
        where = "" if error.reason else f" ({target})"
        click.echo(f"{error.reason or error.code.name}: {error}{where}", err=True)
        if isinstance(error, SendFailedError):
            console = Console(stderr=True)
            console.print(waterfall(error.attempts, console.width))
    sys.exit(MISUSED if isinstance(error, InvalidRequestError) else FAILED)
