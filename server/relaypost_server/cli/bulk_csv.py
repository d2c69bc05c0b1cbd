"""Reads messages out of a CSV file, line by line."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relaypost import Address, bulk_email, bulk_sms
from relaypost.v1 import queue_service_pb2 as pb

OURS = frozenset({"to", "name", "locale", "subject", "text", "html"})
"""Columns that are no variables."""


class CsvError(Exception):
    """The file cannot be read as CSV with the columns that are needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """A file, and what its lines become."""

    path: Path
    template: str
    channel: str
    sender: str = ""
    """Of emails; "" for the gateway's own."""


def count_lines(path: Path) -> int:
    """Lines below the heading. Raises CsvError."""
    return sum(1 for _ in _rows(path))


def messages_of(lines: Lines) -> Iterator[pb.BulkMessage]:
    """A message for each line, at the line's place. Raises CsvError."""
    for position, row in enumerate(_rows(lines.path), start=1):
        message = _message(lines, row)
        message.position = position
        yield message


def _rows(path: Path) -> Iterator[Mapping[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            if "to" not in (reader.fieldnames or ()):
                raise CsvError("the first line must name the columns, and one of them `to`")
            for row in reader:
                if None in row:
                    raise CsvError(f"line {reader.line_num} has more cells than the heading")
                yield {name: value or "" for name, value in row.items()}
        except (csv.Error, UnicodeDecodeError) as error:
            raise CsvError(f"line {reader.line_num} cannot be read ({type(error).__name__})") from None


def _message(lines: Lines, row: Mapping[str, str]) -> pb.BulkMessage:
    given: dict[str, Any] = {name: row[name] for name in ("text", "locale") if row.get(name)}
    if lines.template:
        given["template"] = lines.template
        given["variables"] = {name: value for name, value in row.items() if name not in OURS}
    if lines.channel == "sms":
        return bulk_sms(to=row["to"], **given)
    given |= {name: row[name] for name in ("subject", "html") if row.get(name)}
    if lines.sender:
        given["sender"] = lines.sender
    return bulk_email(to=Address(row["to"], row.get("name", "")), **given)
