"""Writes the tables of providers' answers in docs/providers.md: `python -m tests.answers_in_docs`.

SMTP's has columns of its own: `tests.providers.smtp_table`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from relaypost_server.core.outcome import Kind
from relaypost_server.providers._meanings import Meaning
from tests.peers import ROOT
from tests.providers import smtp_table
from tests.providers.rows import TABLES

PAGE = ROOT / "docs" / "providers.md"
ROWS: Mapping[str, Sequence[Any]] = {name: table.rows for name, table in TABLES.items()}
"""By provider, in the order in which they are compared."""
HOUR = 3600.0


def sections() -> Mapping[str, str]:
    """The table of each provider."""
    return {**{name: _section(name) for name in ROWS}, "smtp": smtp_table.markdown()}


def _section(provider: str) -> str:
    lines = [f"| {provider} answers | kind | because | alert |", "| --- | --- | --- | --- |"]
    for row in ROWS[provider]:
        meaning: Meaning = row.meaning
        answer = row.answer.replace("|", "\\|")
        lines.append(f"| {answer} | {_kind(meaning)} | {meaning.why} | {'yes' if meaning.alert else ''} |")
    return "\n".join(lines) + "\n"


def _kind(meaning: Meaning) -> str:
    kind = meaning.kind.value
    if meaning.latch is not None:
        kind += " for an hour" if meaning.latch == HOUR else f" for {meaning.latch:g} s"
    return f"{kind}, blames the recipient" if meaning.blames_recipient and meaning.kind is not Kind.REJECTED else kind


def written(text: str) -> str:
    """The page with each table as it should be, between its marks."""
    for provider, table in sections().items():
        begin, end = f"<!-- answers of {provider}: made by `make docs` -->\n", f"<!-- end of {provider} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        text, count = pattern.subn(lambda _, whole=begin + table + end: whole, text)  # type: ignore[misc]
        assert count == 1, provider
    return text


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
