"""Commands that are imported when they are called or listed, so that each pays only for what it uses."""

import gc
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any

import click

from relaypost_server.cli._early_end import end_at_once


class LazyGroup(click.Group):
    """A group that finds each command, by its name, at `module:attribute` of this package."""

    def __init__(self, *args: Any, places: Mapping[str, str], gateways: Collection[str] = (), **settings: Any) -> None:
        """`gateways`: commands that run until a signal ends them, which may come while they are imported."""
        super().__init__(*args, **settings)
        self._places = places
        self._gateways = gateways

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._places:
            return None
        module, _, attribute = self._places[cmd_name].partition(":")
        with _no_garbage(), _hidden("rich") if cmd_name in self._gateways else nullcontext():
            command: click.Command = getattr(import_module(f"{__package__}.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in self._gateways:
            end_at_once()
        return super().resolve_command(ctx, args)


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Pauses the collector, and exempts what was made: it stays, and searching it costs a tenth of the import."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def _hidden(library: str) -> Iterator[None]:
    """Makes an optional library look as if it was not installed, unless it is loaded: `import` raises ImportError.

    structlog loads rich to print tracebacks with local variables, which logs must not show: it is loaded for nothing.
    """
    if library in sys.modules:
        yield
        return
    sys.modules[library] = None  # type: ignore[assignment]  # docs.python.org/3/reference/import.html#the-module-cache
    try:
        yield
    finally:
        del sys.modules[library]
