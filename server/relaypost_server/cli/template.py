"""`relaypost template`: what there is, whether it is right, and how it looks."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from relaypost_server.cli._common import FAILED, MISUSED, Pair, as_json, print_json
from relaypost_server.config import load_env_file
from relaypost_server.core.message import Channel
from relaypost_server.core.rendering import RenderedEmail, RenderedSms, RenderError
from relaypost_server.core.segments import count_segments
from relaypost_server.gateway_settings import GatewaySettings
from relaypost_server.settings import SettingsError, read
from relaypost_server.templates.catalog import Part, Template
from relaypost_server.templates.check import open_templates
from relaypost_server.templates.locales import complaint_about
from relaypost_server.templates.render import Templates

F = TypeVar("F", bound=Callable[..., Any])


def _source_options(command: F) -> F:
    """Which templates are meant."""
    for option in (
        click.option("--default-locale", help="Instead of RELAYPOST_DEFAULT_LOCALE."),
        click.option("--dir", "directory", help="Instead of RELAYPOST_TEMPLATES_DIR."),
    ):
        command = option(command)
    return command


@click.group()
def template() -> None:
    """List, check and preview the templates of messages."""


@template.command("list")
@_source_options
@as_json
def list_templates(as_json: bool, directory: str | None, default_locale: str | None) -> None:
    """List every template, its variables and its languages."""
    found = list(_open(directory, default_locale, as_json=as_json).by_name.values())
    if as_json:
        print_json({"templates": [_plain(t) for t in found]})
        return
    for each in found:
        click.echo(f"{each.name}  {each.declaration.about}{' Secret: never tracked.' * each.declaration.secret}")
        for channel, locales in each.locales.items():
            click.echo(f"  {channel.value}: {' '.join(sorted(locales))}")
        Console().print(_variables(each))


@template.command()
@_source_options
@as_json
def check(as_json: bool, directory: str | None, default_locale: str | None) -> None:
    """Find every mistake in the templates, as the start of the gateway does. Exits 2 if there is any."""
    found = _open(directory, default_locale, as_json=as_json).by_name
    if as_json:
        print_json({"templates": list(found), "problems": []})
    else:
        click.echo(f"no mistakes in {len(found)} {'template' if len(found) == 1 else 'templates'}")


@template.command()
@click.argument("name")
@click.option("--locale", default="", help="A language, or several as in Accept-Language. Default: the template's own.")
@click.option(
    "--var",
    "values",
    type=Pair(),
    multiple=True,
    help="A variable; repeatable. Default: its sample, if it is required.",
)
@click.option("--part", type=click.Choice([p.value for p in Part]), help="Print this part alone, as it is.")
@click.option("--html", "html_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the html here.")
@_source_options
@as_json
def preview(
    name: str,
    as_json: bool,
    directory: str | None,
    default_locale: str | None,
    locale: str,
    values: tuple[tuple[str, str], ...],
    part: str | None,
    html_file: Path | None,
) -> None:
    """Fill a template in and show it; send nothing."""
    templates = _open(directory, default_locale, as_json=as_json)
    shown = templates.by_name.get(name)
    filled = {**(shown.declaration.required_samples if shown else {}), **dict(values)}
    try:
        email, sms = _render(templates, name, filled, locale)
    except RenderError as error:
        _explain(error, as_json=as_json)
        sys.exit(MISUSED)
    if html_file:
        html_file.write_text(_required(_parts(email, sms), Part.EMAIL_HTML), encoding="utf-8")
    if part:
        click.echo(_required(_parts(email, sms), Part(part)))
    elif as_json:
        print_json(_plain_preview(email, sms))
    else:
        _print(email, sms)


def _open(directory: str | None, default_locale: str | None, *, as_json: bool) -> Templates:
    """The templates, or the end of the program with everything that is wrong with them."""
    try:
        load_env_file(os.environ)
        where, language = _settings(directory, default_locale)
        return open_templates(where, language)
    except SettingsError as error:
        if as_json:
            problems = [{"where": p.setting, "what": p.what, "fix": p.fix} for p in error.problems]
            print_json({"problems": problems})
        else:
            click.echo(str(error), err=True)
        sys.exit(MISUSED)


def _settings(directory: str | None, default_locale: str | None) -> tuple[Path | None, str]:
    """The two settings that matter here: mistakes in others do not."""
    given = {"RELAYPOST_TEMPLATES_DIR": directory, "RELAYPOST_DEFAULT_LOCALE": default_locale}
    environ = {name: os.environ.get(name, "") if value is None else value for name, value in given.items()}
    gateway, problems = read(GatewaySettings, environ)
    if gateway is None:
        raise SettingsError(problems)
    return gateway.templates_dir, gateway.default_locale


def _render(
    templates: Templates, name: str, values: dict[str, str], locale: str
) -> tuple[RenderedEmail | None, RenderedSms | None]:
    """Whatever the template has. Raises RenderError."""
    shown = templates.by_name.get(name)
    channels = shown.locales if shown else tuple(Channel)
    complaint = complaint_about(locale)
    violations = [("locale", complaint)] if complaint else []
    try:
        made = (
            templates.email(name, values, locale) if Channel.EMAIL in channels else None,
            templates.sms(name, values, locale) if Channel.SMS in channels else None,
        )
    except RenderError as error:
        raise RenderError([*violations, *error.violations]) from None
    if violations:
        raise RenderError(violations)
    return made


def _parts(email: RenderedEmail | None, sms: RenderedSms | None) -> dict[Part, str]:
    parts: dict[Part, str] = {}
    if email:
        parts |= {Part.SUBJECT: email.subject, Part.EMAIL_TEXT: email.text, Part.EMAIL_HTML: email.html}
    if sms:
        parts[Part.SMS] = sms.text
    return parts


def _required(parts: dict[Part, str], part: Part) -> str:
    if not parts.get(part):
        click.echo(f"the template has no {part}", err=True)
        sys.exit(FAILED)
    return parts[part]


def _explain(error: RenderError, *, as_json: bool) -> None:
    if as_json:
        print_json({"violations": [{"field": field, "description": what} for field, what in error.violations]})
        return
    for field, what in error.violations:
        click.echo(f"{field} {what}", err=True)


def _plain(template: Template) -> dict[str, Any]:
    return {
        "name": template.name,
        "about": template.declaration.about,
        "default_locale": template.default_locale,
        "secret": template.declaration.secret,
        "locales": {channel.value: sorted(locales) for channel, locales in template.locales.items()},
        "variables": template.declaration.model_dump(mode="json")["variables"],
    }


def _plain_preview(email: RenderedEmail | None, sms: RenderedSms | None) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    if email:
        plain["email"] = {"locale": email.locale, "subject": email.subject, "text": email.text, "html": email.html}
    if sms:
        segments = count_segments(sms.text)
        plain["sms"] = {
            "locale": sms.locale,
            "text": sms.text,
            "segments": segments.count,
            "encoding": segments.encoding.value,
            "units": segments.units,
        }
    return plain


def _print(email: RenderedEmail | None, sms: RenderedSms | None) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if email:
        console.print(f"[bold]Email[/] [dim]{email.locale}[/]\n[dim]subject[/] {escape(email.subject)}\n")
        console.print(escape(email.text) if email.text else "[dim]no plain text[/]")
        console.print(f"\n[dim]html: {len(email.html.encode())} bytes; --html FILE writes it[/]\n")
    if sms:
        segments = count_segments(sms.text)
        size = (
            f"{segments.count} segment{'s' if segments.count > 1 else ''}, {segments.units} units {segments.encoding}"
        )
        console.print(f"[bold]Text message[/] [dim]{sms.locale}, {size}[/]\n{escape(sms.text)}")


def _variables(template: Template) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 2), show_header=False)
    for name, variable in template.declaration.variables.items():
        needed = "optional" if variable.optional else "required"
        table.add_row(name, f"[dim]{needed}[/]", variable.kind.value, escape(variable.about))
    return table
