"""The table of SMTP's replies as docs/providers.md shows it."""

from collections.abc import Iterator

from relaypost_server.providers._smtp_rows import ROWS, ReplyRow, Stage

HEAD = "| at | reply | kind | alert | why |\n| --- | --- | --- | --- | --- |\n"
_ORDER = list(Stage)
_NAMED = {
    frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT}): "the message",
    frozenset({Stage.DATA, Stage.DOT}): "the content",
}


def markdown() -> str:
    return HEAD + "".join(f"| {' | '.join(_cells(row))} |\n" for row in ROWS)


def _cells(row: ReplyRow) -> Iterator[str]:
    yield _NAMED.get(row.at) or ", ".join(stage.value for stage in _ORDER if stage in row.at)
    yield _reply(row)
    notes = [
        "the recipient is suppressed" if row.gone else "",
        "blames the recipient" if row.meaning.blames_recipient else "",
        f"for {row.meaning.latch:.0f} s" if row.meaning.latch else "",
        "the rest in another transaction" if row.split else "",
    ]
    yield row.meaning.kind.value + "".join(f"; {note}" for note in notes if note)
    yield "yes" if row.meaning.alert else ""
    yield row.meaning.why


def _reply(row: ReplyRow) -> str:
    parts = []
    if row.code:
        parts.append(" ".join(code.ljust(3, "x") for code in row.code))
    if row.status:
        parts.append(" ".join(f"{status}.x" if status.count(".") == 1 else status for status in row.status))
    if row.says is not None:
        parts.append(" or ".join(f'"{words}"' for words in row.example.split("; ")))
    if row.unusual:
        parts.append("about a quoted or non-ASCII address")
    return ", ".join(parts) or "anything else"
