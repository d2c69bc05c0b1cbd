"""Reads the words of a message, which a template may give."""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from relaypost_server.api.locales import note_unread
from relaypost_server.api.violations import Violations
from relaypost_server.core.pasted import repair_prose
from relaypost_server.core.rendering import RenderError

R = TypeVar("R")


class Templated(Protocol):
    """An email or a text message of a request."""

    @property
    def template(self) -> str: ...
    @property
    def variables(self) -> Mapping[str, str]: ...
    @property
    def locale(self) -> str: ...


def rendered(
    field: str,
    message: Templated,
    render: Callable[[str, Mapping[str, str], str], R],
    bad: Violations,
    *,
    words: Mapping[str, str],
) -> R | None:
    """What the message's template makes; None, with complaints added to `bad`, where it makes nothing.

    `words`: the fields that the template stands for.
    """
    given = [name for name, value in words.items() if value]
    if given:
        bad.add(f"{field}.template", f"stands for {', '.join(words)}: give one or the other")
        return None
    note_unread(f"{field}.locale", message.locale, bad)
    values = read_variables(f"{field}.variables", message.variables, bad)
    try:
        return render(message.template, values, message.locale)
    except RenderError as error:
        for name, what in error.violations:
            bad.add(f"{field}.{name}", what)
        return None


def read_variables(field: str, variables: Mapping[str, str], bad: Violations) -> dict[str, str]:
    """The variables of a template; what pasting left in their values is repaired.

    The template's declaration says what they may hold, and is not looked at here.
    """
    return {name: bad.repaired(_place(field, name), repair_prose(value)) for name, value in variables.items()}


def _place(field: str, name: str) -> str:
    """A variable's path; the field's alone where the name is none that a template can have."""
    return f'{field}["{name}"]' if name.isascii() and name.isidentifier() else field


def check_no_template(field: str, message: Templated, bad: Violations) -> None:
    """Complains about what only a template could use."""
    if message.variables:
        bad.add(f"{field}.variables", "needs a template")
    if message.locale:
        bad.add(f"{field}.locale", "needs a template")
