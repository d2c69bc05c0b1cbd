"""What comes of a template that is filled in."""

from dataclasses import dataclass, field


class RenderError(Exception):
    """A message cannot be made of these values."""

    def __init__(self, violations: list[tuple[str, str]]) -> None:
        """`violations`: pairs of a field (template, locale, variables...) and what is wrong with it, never a value."""
        super().__init__("; ".join(f"{where} {what}" for where, what in violations))
        self.violations = violations


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedEmail:
    """An email in the language `locale`; `text` or `html` may be empty, but not both."""

    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str = field(repr=False)
    locale: str
    secret: bool = False
    """The template is marked so: its links are for the reader alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedSms:
    """A text message in the language `locale`."""

    text: str = field(repr=False)
    locale: str
