"""Shared code of the commands that call a gateway."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click
from relaypost import Client, InvalidRequestError, RelaypostError, SendFailedError
from rich.console import Console

from relaypost_server.cli._common import FAILED, MISUSED, print_json
from relaypost_server.cli.waterfall import waterfall


@contextmanager
def calling(target: str, *, as_json: bool, caller: str = "") -> Iterator[Client]:
    """A client; a call that fails ends the program with an explanation."""
    with Client(target, caller=caller) as client:
        try:
            yield client
        except RelaypostError as error:
            _explain(error, target, as_json=as_json)


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
