"""The suppression list as CSV.

Every line is read on its own: a quote that is never closed, or bytes that are
no text, spoil the line that they are in and no other.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from relaypost.v1 import suppression_service_pb2 as pb

LONGEST_LINE = 8192
"""Bytes: many times what a valid line has."""
COLUMNS = (
    "address",
    "reason",
    "source",
    "provider",
    "message_id",
    "create_time",
    "expire_time",
    "note",
    "all_callers",
)
_FLAGS = {"": False, "false": False, "no": False, "0": False, "true": True, "yes": True, "1": True}
V = TypeVar("V")
_BOM = b"\xef\xbb\xbf"


class HeadingError(Exception):
    """The first line does not name the columns."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file: an entry, or what is wrong with it."""

    number: int
    """From 1."""
    entry: pb.Suppression | None = None
    field: str = ""
    description: str = ""


class _BadLineError(Exception):
    def __init__(self, field: str, description: str) -> None:
        super().__init__(description)
        self.field = field
        self.description = description


def read(file: BinaryIO) -> Iterator[Line]:
    """Every line with something on it, but for the first, which names the columns. Raises HeadingError."""
    lines = _numbered(file)
    columns = _columns(next((text for _, text in lines if text is None or text.strip()), b""))
    for number, text in lines:
        if text is not None and not text.strip():
            continue
        try:
            yield Line(number, _entry(_fields(text, columns)))
        except _BadLineError as bad:
            yield Line(number, field=bad.field, description=bad.description)


def heading() -> str:
    """The first line of a file that is written."""
    return ",".join(COLUMNS) + "\n"


def written(suppression: pb.Suppression) -> str:
    """The line of an entry."""
    values = {
        "address": suppression.address,
        "reason": reason_of(suppression),
        "source": source_of(suppression),
        "provider": suppression.provider,
        "message_id": suppression.message_id,
        "create_time": _iso(suppression.create_time),
        "expire_time": _iso(suppression.expire_time) if suppression.HasField("expire_time") else "",
        "note": suppression.note,
        "all_callers": "true" if suppression.all_callers else "",
    }
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([values[name] for name in COLUMNS])
    return out.getvalue()


def reason_of(suppression: pb.Suppression) -> str:
    return pb.SuppressionReason.Name(suppression.reason).removeprefix("SUPPRESSION_REASON_").lower()


def source_of(suppression: pb.Suppression) -> str:
    return pb.SuppressionSource.Name(suppression.source).removeprefix("SUPPRESSION_SOURCE_").lower()


def _numbered(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """The lines from 1; None for one that is too long to be looked at."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        text: bytes | None = line.removeprefix(_BOM) if number == 1 else line
        while len(line) > LONGEST_LINE and not line.endswith(b"\n"):
            text, line = None, file.readline(LONGEST_LINE + 1)
        yield number, text


def _columns(text: bytes | None) -> Sequence[str]:
    try:
        found = [name.strip().lower() for name in _split(text)]
    except _BadLineError as bad:
        raise HeadingError(f"the first line {bad.description}") from None
    if "address" not in found:
        raise HeadingError(f"the first line names no column address; the columns are {', '.join(COLUMNS)}")
    unknown = sum(name not in COLUMNS for name in found)
    if unknown or len(set(found)) < len(found):
        raise HeadingError(f"the first line names unknown columns, or one twice; there are {', '.join(COLUMNS)}")
    return found


def _split(text: bytes | None) -> list[str]:
    if text is None:
        raise _BadLineError("", f"has more than {LONGEST_LINE} bytes")
    try:
        rows = list(csv.reader([text.decode().rstrip("\r\n")], strict=True))
    except UnicodeDecodeError:
        raise _BadLineError("", "is not UTF-8") from None
    except csv.Error:
        raise _BadLineError("", "is not CSV: a quote or a line break is out of place") from None
    return rows[0] if rows else []


def _fields(text: bytes | None, columns: Sequence[str]) -> Mapping[str, str]:
    values = _split(text)
    if len(values) != len(columns):
        raise _BadLineError("", f"has {len(values)} fields where the first line has {len(columns)}")
    return dict.fromkeys(COLUMNS, "") | {name: v.strip() for name, v in zip(columns, values, strict=True)}


def _entry(fields: Mapping[str, str]) -> pb.Suppression:
    flag = _FLAGS.get(fields["all_callers"].lower())
    if flag is None:
        raise _BadLineError("all_callers", "is neither true nor false")
    return pb.Suppression(
        address=fields["address"],
        reason=_value(pb.SuppressionReason.Value, "SUPPRESSION_REASON_", "reason", fields),
        source=_value(pb.SuppressionSource.Value, "SUPPRESSION_SOURCE_", "source", fields),
        provider=fields["provider"],
        message_id=fields["message_id"],
        create_time=_time("create_time", fields),
        expire_time=_time("expire_time", fields),
        note=fields["note"],
        all_callers=flag,
    )


def _value(value_of: Callable[[str], V], prefix: str, name: str, fields: Mapping[str, str]) -> V:
    try:
        return value_of(prefix + (fields[name] or "unspecified").upper())
    except ValueError:
        raise _BadLineError(name, f"is not a known {name}") from None


def _time(name: str, fields: Mapping[str, str]) -> Timestamp | None:
    if not fields[name]:
        return None
    found = Timestamp()
    try:
        moment = datetime.fromisoformat(fields[name])
        found.FromDatetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise _BadLineError(name, "is not a time such as 2026-07-01T12:00:00Z") from None
    return found


def _iso(moment: Timestamp) -> str:
    return moment.ToDatetime(tzinfo=UTC).isoformat().replace("+00:00", "Z")
