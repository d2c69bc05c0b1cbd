"""Commands that are imported when they are called or listed, so that each pays only for what it uses."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """A group that finds each command, by its name, at `module:attribute` of this package."""

    def __init__(self, *args: Any, places: Mapping[str, str], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._places:
            return None
        module, _, attribute = self._places[cmd_name].partition(":")
        with _no_garbage():
            command: click.Command = getattr(import_module(f"{__package__}.{module}"), attribute)
        return command


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Pauses the collector: what an import makes stays, and searching it costs a tenth of the import."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
