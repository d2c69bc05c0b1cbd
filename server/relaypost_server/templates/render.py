"""Fills templates in."""

import re
from collections.abc import Iterable, Mapping

from jinja2 import TemplateError, TemplateRuntimeError

from relaypost_server.core.message import Channel
from relaypost_server.core.rendering import RenderedEmail, RenderedSms, RenderError
from relaypost_server.templates.catalog import Part, Template
from relaypost_server.templates.filters import FORMATS
from relaypost_server.templates.language import Sandbox
from relaypost_server.templates.locales import Choice, choose

LONGEST: Mapping[Part, int] = {
    Part.SUBJECT: 998,
    Part.EMAIL_TEXT: 1024 * 1024,
    Part.EMAIL_HTML: 1024 * 1024,
    Part.SMS: 1600,
}
"""Characters of a part; bytes for the texts of an email."""

_BREAK = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")
_ENCODED_WORD = re.compile(r"=\?[^?\s]+\?[bBqQ]\?[^?]*\?=")
_WRONG = (TemplateError, TypeError, ValueError, ArithmeticError, RecursionError)
"""What a template that passed the checks may still run into with other values."""


class FillError(Exception):
    """A part cannot be filled in: `place` in a template's file, and what happened there, never a value."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(f"{place}: {what}")
        self.place = place
        self.what = what


class Templates:
    """Every template, ready to be filled in. Holds nothing that a rendering changes."""

    def __init__(self, templates: Mapping[str, Template], sandbox: Sandbox) -> None:
        self.by_name = templates
        self.sandbox = sandbox

    def email(self, name: str, variables: Mapping[str, str], locale: str = "") -> RenderedEmail:
        """The email; `locale` is a tag, or a list as in Accept-Language, of which what cannot be read
        is passed over. Raises RenderError.
        """
        template, choice = self._choose(name, Channel.EMAIL, variables, locale)
        parts = self._fill(template, choice, template.parts[choice.tag] - {Part.SMS}, variables)
        return RenderedEmail(
            subject=parts[Part.SUBJECT],
            text=parts.get(Part.EMAIL_TEXT, ""),
            html=parts.get(Part.EMAIL_HTML, ""),
            locale=choice.tag,
            secret=template.declaration.secret,
        )

    def sms(self, name: str, variables: Mapping[str, str], locale: str = "") -> RenderedSms:
        """The text message; `locale` is a tag, or a list as in Accept-Language, of which what cannot be read
        is passed over. Raises RenderError.
        """
        template, choice = self._choose(name, Channel.SMS, variables, locale)
        parts = self._fill(template, choice, {Part.SMS}, variables)
        return RenderedSms(text=parts[Part.SMS], locale=choice.tag)

    def variables(self, name: str) -> frozenset[str]:
        """What a template takes; nothing where there is no such template."""
        template = self.by_name.get(name)
        return frozenset(template.declaration.variables) if template else frozenset()

    def fill(self, template: Template, choice: Choice, part: Part, variables: Mapping[str, str]) -> str:
        """One part, filled in with values that were found valid. Raises FillError."""
        values = {
            **template.declaration.complete(variables),
            "locale": choice.tag,
            "direction": choice.direction,
            FORMATS: choice.formats,
        }
        path = template.path(choice.tag, part)
        try:
            text = self._write(path, values, LONGEST[part]).strip()
        except _WRONG as error:
            raise FillError(_where(error, path), _reason(error)) from None
        if part is Part.SUBJECT:
            text = _BREAK.sub(" ", text)
        if complaint := _complaint(part, text):
            raise FillError(path, complaint)
        return text

    def warm_up(self) -> None:
        """Compiles every template and loads the data of its languages, by filling in the samples. Raises FillError."""
        for template in self.by_name.values():
            for locale, parts in template.parts.items():
                choice = Choice.of(locale)
                for part in parts:
                    self.fill(template, choice, part, template.declaration.samples)

    def _fill(
        self, template: Template, choice: Choice, parts: Iterable[Part], variables: Mapping[str, str]
    ) -> dict[Part, str]:
        try:
            return {part: self.fill(template, choice, part, variables) for part in parts}
        except FillError as error:
            raise RenderError([("template", f"cannot be filled in: {error}")]) from None

    def _choose(
        self, name: str, channel: Channel, variables: Mapping[str, str], locale: str
    ) -> tuple[Template, Choice]:
        """The template and the language. Raises RenderError with everything that is wrong with what was asked."""
        template = self.by_name.get(name)
        if template is None:
            raise RenderError([("template", "is not the name of a template")])
        if channel not in template.locales:
            raise RenderError([("template", f"has no {channel.value}")])
        violations = template.declaration.complaints(variables)
        if violations:
            raise RenderError(violations)
        return template, choose(locale, template.locales[channel], template.default_locale)

    def _write(self, path: str, values: Mapping[str, object], longest: int) -> str:
        """The text, given up as soon as it is too long."""
        pieces, length = [], 0
        for piece in self.sandbox.get_template(path).generate(values):
            pieces.append(piece)
            length += len(piece)
            if length > longest + 1:  # The line break at the end does not count.
                raise TemplateRuntimeError(f"becomes longer than the {longest} characters that are allowed")
        return "".join(pieces)


def _reason(error: Exception) -> str:
    """What went wrong, without a value: Python's own messages may hold one."""
    if isinstance(error, RecursionError):
        return "uses itself"
    if isinstance(error, TemplateError):
        return error.message or "cannot be run"
    return "a value is used as what it is not"


def _where(error: Exception, path: str) -> str:
    """The place in a template where an error came up: the innermost frame that is one of a template."""
    place, frame = path, error.__traceback__
    while frame is not None:
        name = frame.tb_frame.f_code.co_filename
        if name.endswith((".txt", ".html")):
            place = f"{name}:{frame.tb_lineno}"
        frame = frame.tb_next
    return place


def _complaint(part: Part, text: str) -> str:
    if not text:
        return "is empty"
    if part is Part.SUBJECT and _ENCODED_WORD.search(text):
        return "becomes an encoded word (RFC 2047)"
    if part in (Part.EMAIL_TEXT, Part.EMAIL_HTML) and len(text.encode()) > LONGEST[part]:
        return f"becomes longer than the {LONGEST[part]} bytes that are allowed"
    return ""
