"""What a template says of itself in its `template.toml`: the variables that it takes."""

import re
import tomllib
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from relaypost_server.templates.filters import parse_date, parse_datetime, parse_number
from relaypost_server.templates.locales import known_tag

MOST_VARIABLES = 50
LONGEST_VALUE = 10_000
"""Characters of any value."""
RESERVED = frozenset({"locale", "direction"})
"""Variables that every template has: the language of the message, and "ltr" or "rtl"."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_KEYWORDS = frozenset({"and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "loop", "self", "range"})
_BROKEN_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
_SURROGATES = re.compile("[\ud800-\udfff]")


class DeclarationError(Exception):
    """Everything that is wrong with a `template.toml`: pairs of where and what."""

    def __init__(self, mistakes: list[tuple[str, str]]) -> None:
        super().__init__(f"{len(mistakes)} mistakes")
        self.mistakes = mistakes


class Kind(StrEnum):
    """The form of a value; values are always text."""

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    DATETIME = "datetime"
    URL = "url"


def _parse_url(text: str) -> str:
    """Only https and http: a link of another kind may run a script."""
    try:
        url = urlsplit(text)
    except ValueError:
        url = None
    if url is None or url.scheme not in ("http", "https") or not url.hostname or " " in text:
        raise ValueError("is not a URL such as https://example.com/path")
    return text


_PARSERS: Mapping[Kind, Callable[[str], object]] = {
    Kind.NUMBER: parse_number,
    Kind.DATE: parse_date,
    Kind.DATETIME: parse_datetime,
    Kind.URL: _parse_url,
}


class Variable(BaseModel):
    """A value that the caller gives."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    sample: str
    """Stands in for the value in checks and previews."""
    about: str = ""
    kind: Kind = Kind.TEXT
    optional: bool = False
    """A value that is not given is the empty text."""
    longest: Annotated[int, Field(ge=1, le=LONGEST_VALUE)] = 1000
    """Characters."""
    lines: bool = False
    """True to allow line breaks."""
    pattern: re.Pattern[str] | None = None
    """What the whole value must match."""

    @model_validator(mode="after")
    def _sample_is_valid(self) -> Self:
        complaint = self.complaint(self.sample)
        if complaint:
            raise ValueError(f"the sample {complaint}")
        return self

    def complaint(self, value: str) -> str:
        """What is wrong with a value, or "". Never repeats the value."""
        if len(value) > self.longest:
            return f"has {len(value)} characters, at most {self.longest} are allowed"
        if not value:
            return "" if self.optional else "is empty"
        if not value.strip():
            return "is blank"
        return self._bad_characters(value) or self._bad_form(value)

    def _bad_characters(self, value: str) -> str:
        if _SURROGATES.search(value):
            return "is not valid Unicode"
        if self.lines:
            return "must not hold control characters" if _CONTROLS.search(value) else ""
        if _BROKEN_LINE.search(value):
            return "must be one line without control characters"
        return "must not hold characters that turn the direction of writing" if _TURNING.search(value) else ""

    def _bad_form(self, value: str) -> str:
        try:
            _PARSERS.get(self.kind, str)(value)
        except ValueError as error:
            return str(error)
        return "" if self.pattern is None or self.pattern.fullmatch(value) else "does not have the form that is needed"


class Declaration(BaseModel):
    """A whole `template.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    about: str
    default_locale: Annotated[str, AfterValidator(known_tag)] | None = None
    """The language for readers whose own is missing; default: RELAYPOST_DEFAULT_LOCALE."""
    secret: bool = False
    """True for a code, or a link that logs its reader in: no provider may track such an email."""
    variables: Annotated[dict[str, Variable], Field(max_length=MOST_VARIABLES)] = {}

    @model_validator(mode="after")
    def _names_are_usable(self) -> Self:
        for name in self.variables:
            if not _NAME.fullmatch(name):
                raise ValueError(f'"{name}" must begin with a letter, and have 1 to 40 of a-z, 0-9 and _')
            if name in RESERVED | _KEYWORDS:
                raise ValueError(f'"{name}" has a meaning of its own')
        return self

    @property
    def samples(self) -> dict[str, str]:
        return {name: variable.sample for name, variable in self.variables.items()}

    @property
    def required_samples(self) -> dict[str, str]:
        return {name: variable.sample for name, variable in self.variables.items() if not variable.optional}

    @property
    def required(self) -> frozenset[str]:
        return frozenset(name for name, variable in self.variables.items() if not variable.optional)

    def complaints(self, values: Mapping[str, str]) -> list[tuple[str, str]]:
        """What is wrong with a caller's values: pairs of a field and a complaint."""
        if len(values) > MOST_VARIABLES:
            return [("variables", f"has {len(values)} entries, at most {MOST_VARIABLES} are allowed")]
        found = [(field_of(name), "is required by the template") for name in sorted(self.required - values.keys())]
        for position, (name, value) in enumerate(sorted(values.items()), start=1):
            variable = self.variables.get(name)
            if variable is None:
                found.append((_unknown(name, position), "is not a variable of the template"))
            elif complaint := variable.complaint(value):
                found.append((field_of(name), complaint))
        return found

    def complete(self, values: Mapping[str, str]) -> dict[str, str]:
        """The values, the empty text for those that are optional and not given."""
        return {name: values.get(name, "") for name in self.variables}


def field_of(name: str) -> str:
    return f'variables["{name}"]'


def _unknown(name: str, position: int) -> str:
    """A name that may hold anything is not repeated."""
    return field_of(name) if _NAME.fullmatch(name) else f"variables (key {position} by name)"


def read_declaration(source: str) -> Declaration:
    """The declaration in a TOML text. Raises DeclarationError."""
    try:
        table: dict[str, Any] = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise DeclarationError([("", f"is not TOML: {error}")]) from None
    try:
        return Declaration.model_validate(table)
    except ValidationError as error:
        raise DeclarationError(
            [(".".join(map(str, e["loc"])), _plain(e["msg"])) for e in error.errors(include_url=False)]
        ) from None


def _plain(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[0].lower() + message[1:]
