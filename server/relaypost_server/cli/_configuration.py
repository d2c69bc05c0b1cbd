"""The configuration, for the commands that are or examine a gateway."""

import os
import sys

import click

from relaypost_server.cli._common import MISUSED
from relaypost_server.config import Config, load, load_env_file
from relaypost_server.settings import SettingsError


def configuration() -> Config:
    """The settings, or the end of the program with everything that is wrong with them."""
    try:
        load_env_file(os.environ)
        return load(os.environ)
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(MISUSED)
