"""`relaypost settings`."""

from collections.abc import Iterator
from enum import Enum
from typing import Any

import click
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from relaypost_server.cli._common import as_json, print_json
from relaypost_server.config import FEATURES
from relaypost_server.core.money import PriceList
from relaypost_server.gateway_settings import GatewaySettings
from relaypost_server.providers import PROVIDERS
from relaypost_server.settings import Settings, variables

HEAD = """# Settings

Written by `make docs` from the settings' own descriptions; not to be edited.

Every setting is an environment variable. A blank one counts as not set. All
mistakes are reported at once at the start, each with its cure, and no value is
ever shown. `OTEL_*` variables mean what the OpenTelemetry specification says.
"""


@click.command()
@click.option("--markdown", is_flag=True, help="Print docs/settings.md.")
@as_json
def settings(markdown: bool, as_json: bool) -> None:
    """List every setting, what it means, and its default."""
    if as_json:
        print_json({name: {"means": field.description, "default": _default(field)} for name, field in _all()})
    elif markdown:
        click.echo(reference(), nl=False)
    else:
        table = Table("setting", "meaning", "default", header_style="dim")
        for name, field in _all():
            table.add_row(name, escape(field.description or ""), escape(_default(field)))
        Console().print(table)


def reference() -> str:
    """The text of docs/settings.md."""
    parts = [HEAD]
    for model in _models():
        parts.append(f"\n## {model.title}\n\n{model.__doc__}\n\n| setting | meaning | default |\n| --- | --- | --- |\n")
        parts += [
            f"| `{name}` | {_cell(field.description or '')} | {_cell(_default(field), code=True)} |\n"
            for name, field in variables(model).items()
        ]
    return "".join(parts)


def _models() -> list[type[Settings]]:
    """The gateway's settings, those of its features, then those of each provider, each class once."""
    return [GatewaySettings, *FEATURES, *dict.fromkeys(p.Settings for p in PROVIDERS)]


def _all() -> Iterator[tuple[str, FieldInfo]]:
    seen = set()
    for model in _models():
        for name, field in variables(model).items():
            if name not in seen:
                seen.add(name)
                yield name, field


def _default(field: FieldInfo) -> str:
    """The default as one would write it; empty where the description tells it."""
    value: Any = field.default
    if field.default_factory is not None or value is None:
        return ""
    if isinstance(value, PriceList):
        return f"prices of {value.as_of}"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value.value if isinstance(value, Enum) else value)


def _cell(text: str, *, code: bool = False) -> str:
    escaped = text.replace("|", "\\|")
    return f"`{escaped}`" if code and escaped else escaped
