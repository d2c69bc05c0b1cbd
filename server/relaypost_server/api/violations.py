"""Collects what is wrong with a request, field by field, before anything is said."""

import re
from collections.abc import Iterable, Mapping

from relaypost_server.core.adjustments import Adjustment, AdjustmentKind
from relaypost_server.core.characters import DIRECTION_CONTROLS, counted
from relaypost_server.core.pasted import Repaired, repair_line, repair_prose

MOST_SHOWN = 30
"""Violations in one answer: they ride in trailers, which fail as a whole beyond about 8 KiB."""

_NUL = "\x00"
_LINE_BREAK = re.compile("[\n\r\u2028\u2029]")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_DIRECTION = re.compile(f"[{DIRECTION_CONTROLS}]")
_ENCODED_WORD = re.compile(r"=\?[^?]*\?[bBqQ]\?.*\?=")
"""Wider than RFC 2047: readers decode some that it does not allow."""
_KEY = re.compile(r"[A-Za-z0-9_.:/-]+")


class InvalidRequestError(Exception):
    """The request has at least one field that is not valid."""

    def __init__(self, violations: list[tuple[str, str]]) -> None:
        """`violations`: pairs of a field's path and what is wrong with it."""
        super().__init__(f"{len(violations)} fields are not valid")
        self.violations = violations


class Violations:
    """A growing list of complaints, and of what was changed in place of a complaint.

    Neither repeats the value it is about.
    """

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []
        self._adjustments: list[Adjustment] = []

    @property
    def adjustments(self) -> tuple[Adjustment, ...]:
        """What was changed so that it can be sent."""
        return tuple(self._adjustments)

    def adjusted(self, field: str, kind: AdjustmentKind, description: str) -> None:
        """Notes a change of a field."""
        self._adjustments.append(Adjustment(field=field, kind=kind, description=description))

    def adjusted_each(self, field: str, changes: Iterable[tuple[AdjustmentKind, str]]) -> None:
        """Notes several changes of a field: kinds with descriptions."""
        for kind, description in changes:
            self.adjusted(field, kind, description)

    def add(self, field: str, complaint: str) -> None:
        self._found.append((field, complaint))

    def check(self) -> None:
        """Raises InvalidRequestError if there was any complaint."""
        if not self._found:
            return
        shown = self._found[:MOST_SHOWN]
        if len(self._found) > MOST_SHOWN:
            shown.append((self._found[MOST_SHOWN][0], f"and {len(self._found) - MOST_SHOWN} more fields are not valid"))
        raise InvalidRequestError(shown)

    def line(self, field: str, value: str, *, longest: int, required: bool = False, name: bool = False) -> None:
        """One line of text. `name`: it names a person or a file, so direction controls are refused."""
        if not value:
            if required:
                self.add(field, "is required")
        elif len(value) > longest:
            self.add(field, f"has {len(value)} characters, at most {longest} are allowed")
        elif _CONTROLS.search(value):
            self.add(field, _complaint_about_controls(value))
        elif name and _DIRECTION.search(value):
            self.add(field, "must not hold characters that turn the direction of writing")
        elif "=?" in value and _ENCODED_WORD.search(value):
            self.add(field, "must be plain text, not an encoded word (RFC 2047)")

    def repaired_line(self, field: str, value: str, *, longest: int, required: bool = False, name: bool = False) -> str:
        """As `line`, and what pasting left in it is repaired; the line."""
        text = self.repaired(field, repair_line(value))
        self.line(field, text, longest=longest, required=required, name=name)
        return text

    def repaired_prose(self, field: str, value: str, *, most_bytes: int) -> str:
        """Text of any number of lines; what pasting left in it is repaired."""
        text = self.repaired(field, repair_prose(value))
        if 4 * len(text) > most_bytes and len(text.encode()) > most_bytes:
            self.add(field, f"is longer than the {most_bytes} bytes that are allowed")
        elif _NUL in text:
            self.add(field, _complaint_about_controls(text))
        return text

    def repaired(self, field: str, repaired: Repaired) -> str:
        """The text, and what was repaired in it is noted."""
        if repaired.replaced:
            told = "the characters that were meant" if repaired.replaced > 1 else "the character that was meant"
            what = f"{counted(repaired.replaced, 'character')} replaced by {told}"
            self.adjusted(field, AdjustmentKind.REPLACED, what)
        if repaired.dropped:
            self.adjusted(field, AdjustmentKind.DROPPED, f"{counted(repaired.dropped, 'control character')} dropped")
        return repaired.text

    def repaired_mapping(
        self, field: str, values: Mapping[str, str], *, most: int, key: int, value: int
    ) -> dict[str, str]:
        """Short notes: at most `most`, keys and values of at most so many characters.

        What pasting left in values is repaired. Returns the notes in the order of the request.
        """
        if len(values) > most:
            self.add(field, f"has {len(values)} entries, at most {most} are allowed")
            return {}
        notes = dict(values)
        for position, (name, text) in enumerate(sorted(values.items())):
            if not name or len(name) > key or not _KEY.fullmatch(name):
                self.add(f"{field} (key {position + 1} by name)", f"must have 1 to {key} of letters, digits and _.:/-")
            else:
                notes[name] = self.repaired_line(f'{field}["{name}"]', text, longest=value)
        return notes


def _complaint_about_controls(text: str) -> str:
    if _NUL in text:
        return "must not hold U+0000 (NUL)"
    if _LINE_BREAK.search(text):
        return "must be one line, without line breaks"
    return "must be one line, without control characters"
