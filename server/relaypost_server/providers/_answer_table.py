"""Tables of a provider's answers over HTTP: the first row that fits an answer says what it means."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.providers._connection import Answer
from relaypost_server.providers._http import retry_after
from relaypost_server.providers._meanings import Meaning, outcome_of

OK = range(200, 300)
REDIRECTS = range(300, 400)
REFUSALS = range(400, 500)
FAILURES = range(500, 600)
_RANGES = {OK: "2xx", REDIRECTS: "3xx", REFUSALS: "4xx", FAILURES: "5xx"}
_INDEX = re.compile(r"\.\d+(?=\.|$)")


class Complaint(NamedTuple):
    """What a provider says is wrong."""

    text: str
    field: str = ""
    """The path of the field, as in personalizations.0.to.0.email; "" where the provider names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What an answer says, as rows are compared with it."""

    status: int
    code: str = ""
    """The provider's error code."""
    complaints: Sequence[Complaint] = ()
    has_id: bool = False
    """It names the message that was accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An answer that is known. It fits where everything that it names does; one that names nothing fits always."""

    meaning: Meaning
    statuses: Collection[int] = ()
    codes: Collection[str] = ()
    fields: Collection[str] = ()
    """Beginnings of a field's path, without indices, as in personalizations.to."""
    words: Collection[str] = ()
    """In lower case: one of them stands in the complaint about such a field."""
    coded: bool = False
    """Any error code will do, but there must be one."""
    has_id: bool = False

    def fits(self, said: Said) -> bool:
        return (
            (not self.statuses or said.status in self.statuses)
            and (not self.codes or said.code in self.codes)
            and (said.has_id or not self.has_id)
            and (bool(said.code) or not self.coded)
            and (not (self.fields or self.words) or any(self._is_about(c) for c in said.complaints))
        )

    def _is_about(self, complaint: Complaint) -> bool:
        field, text = f"{_INDEX.sub('', complaint.field)}.", complaint.text.lower()
        return (not self.fields or any(field.startswith(f"{path}.") for path in self.fields)) and (
            not self.words or any(word in text for word in self.words)
        )

    @property
    def answer(self) -> str:
        """The answers that the row is about, for people."""
        statuses = _RANGES.get(self.statuses) if isinstance(self.statuses, range) else None
        parts = [
            statuses or ", ".join(str(status) for status in self.statuses),
            ", ".join(f"`{code}`" for code in self.codes),
            "with an error code" if self.coded else "",
            "with the id of a message" if self.has_id else "",
            _of("about", self.fields, "`"),
            _of("that says", self.words, '"'),
        ]
        return " ".join(part for part in parts if part) or "anything else"


def _of(what: str, names: Iterable[str], quote: str) -> str:
    listed = " or ".join(f"{quote}{name}{quote}" for name in names)
    return f"{what} {listed}" if listed else ""


class AnswerTable:
    """The rows of one provider, in the order in which they are compared."""

    def __init__(self, *rows: Row) -> None:
        """The last row must name nothing: it says what answers mean that nobody knows."""
        self.rows = rows

    def find(self, said: Said) -> Row:
        """The first row that fits."""
        return next(row for row in self.rows if row.fits(said))

    def outcome(
        self, answer: Answer, said: Said, *, code: str = "", message_id: str = "", wait: float | None = None
    ) -> Outcome:
        """What the answer means. `code`: as shown to people. `wait`: seconds, where not Retry-After tells them."""
        meaning = self.find(said).meaning
        if meaning.kind is Kind.ACCEPTED:
            return Outcome(kind=Kind.ACCEPTED, provider_message_id=message_id)
        return outcome_of(
            meaning,
            detail=f"HTTP {answer.status}: {meaning.why}",
            text="; ".join(complaint.text for complaint in said.complaints if complaint.text),
            code=code or said.code,
            retry_after=retry_after(answer) if wait is None and meaning.kind is Kind.THROTTLED else wait,
        )
