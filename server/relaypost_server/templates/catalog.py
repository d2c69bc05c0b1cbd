"""Which templates there are, in which languages, and which parts each of them has."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from relaypost_server.core.message import Channel
from relaypost_server.settings import Problem
from relaypost_server.templates.declaration import Declaration, DeclarationError, read_declaration
from relaypost_server.templates.files import problem
from relaypost_server.templates.language import SHARED
from relaypost_server.templates.locales import LocaleError, known_tag

DECLARATION = "template.toml"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_SHARED_NAME = re.compile(rf"{SHARED}[a-z0-9_-]{{1,62}}\.(txt|html)")


class Part(StrEnum):
    """The files of a language."""

    SUBJECT = "subject.txt"
    EMAIL_TEXT = "email.txt"
    EMAIL_HTML = "email.html"
    SMS = "sms.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A message in every language that it is written in."""

    name: str
    declaration: Declaration
    default_locale: str
    parts: Mapping[str, frozenset[Part]]
    """The files of each locale."""

    locales: Mapping[Channel, frozenset[str]]
    """The languages that each channel can choose from; a channel that has none is left out."""

    def path(self, locale: str, part: Part) -> str:
        return f"{self.name}/{locale}/{part}"


def read_catalog(files: Mapping[str, str], default_locale: str) -> tuple[dict[str, Template], list[Problem]]:
    """The templates among files, by name, and what is wrong with the files' places and names."""
    problems: list[Problem] = []
    folders: dict[str, dict[str, set[Part]]] = defaultdict(dict)
    for path in files:
        _place(path, folders, problems)
    found = {}
    for name, parts in sorted(folders.items()):
        declaration, mistakes = _declaration(name, files)
        problems += mistakes
        if declaration is not None:
            template = Template(
                name=name,
                declaration=declaration,
                default_locale=declaration.default_locale or default_locale,
                parts={locale: frozenset(of_locale) for locale, of_locale in sorted(parts.items())},
                locales=_locales(parts),
            )
            found[name] = template
            problems += _missing_parts(template)
    return found, problems


def _place(path: str, folders: dict[str, dict[str, set[Part]]], problems: list[Problem]) -> None:
    """Notes what a file is by its path, or that it is nothing."""
    match path.split("/"):
        case [file] if _SHARED_NAME.fullmatch(file):
            return
        case [name, *_] if not _NAME.fullmatch(name) or "/" not in path:
            complaint = "is not in a folder whose name has 1 to 63 of a-z, 0-9, - and _"
        case [name, file] if file == DECLARATION or _SHARED_NAME.fullmatch(file):
            folders[name]  # The folder counts, even with no language in it.
            return
        case [name, locale, file]:
            complaint = _bad_locale(locale) or _bad_part(file)
            if not complaint:
                folders[name].setdefault(locale, set()).add(Part(file))
                return
        case _:
            complaint = f"is neither {DECLARATION} nor a shared file such as {SHARED}layout.html nor in a language"
    problems.append(problem(path, None, complaint))


def _bad_locale(locale: str) -> str:
    try:
        tag = known_tag(locale)
    except LocaleError as error:
        return f"is in a folder whose name {error}"
    return "" if tag == locale else f"is in a folder that must be named {tag}"


def _bad_part(file: str) -> str:
    return "" if file in list(Part) else f"is none of {', '.join(Part)}"


def _declaration(name: str, files: Mapping[str, str]) -> tuple[Declaration | None, list[Problem]]:
    path = f"{name}/{DECLARATION}"
    if path not in files:
        return None, [problem(path, None, "is missing", "Add it, to say which variables the template takes.")]
    try:
        return read_declaration(files[path]), []
    except DeclarationError as error:
        return None, [problem(path, None, f"{where}: {what}" if where else what) for where, what in error.mistakes]


def _locales(parts: Mapping[str, Collection[Part]]) -> dict[Channel, frozenset[str]]:
    signs = {Channel.EMAIL: Part.SUBJECT, Channel.SMS: Part.SMS}
    found = {c: frozenset(locale for locale, of in parts.items() if sign in of) for c, sign in signs.items()}
    return {channel: locales for channel, locales in found.items() if locales}


def _missing_parts(template: Template) -> list[Problem]:
    """A subject without a text, a text without a subject, a channel without its default language."""
    problems = []
    for locale, parts in template.parts.items():
        bodies = parts & {Part.EMAIL_TEXT, Part.EMAIL_HTML}
        if bool(bodies) is not (Part.SUBJECT in parts):
            missing = Part.EMAIL_TEXT if Part.SUBJECT in parts else Part.SUBJECT
            problems.append(problem(template.path(locale, missing), None, "is missing: an email needs it"))
    if not template.parts:
        problems.append(problem(template.name, None, "has no language"))
    for channel, locales in template.locales.items():
        if template.default_locale not in locales:
            fix = f"Add it, or set default_locale in {template.name}/{DECLARATION}, or RELAYPOST_DEFAULT_LOCALE."
            what = f"has no {channel.value} in its default language {template.default_locale}"
            problems.append(problem(template.name, None, what, fix))
    return problems
