"""Every row of SMTP's table as cases, at each stage that it names, and a server that gives such replies."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from relaypost_server.providers._smtp_rows import ROWS, ReplyRow, Stage
from relaypost_server.providers.smtp import Smtp
from tests.fakes.smtp import FakeSmtp, fake_smtp
from tests.providers.cases import Case, Peer
from tests.providers.configured import build

EHLO = "250-fake\r\n250-STARTTLS\r\n250-AUTH PLAIN\r\n250 8BITMIME"
UNUSUAL = '"a..b"@docomo.ne.jp'
_OF_CLASS = {"4": "451", "5": "554"}
"""A reply code of each class that no row is about."""


class Sample(NamedTuple):
    """A reply that a row is about, at one of its stages."""

    row: ReplyRow
    stage: Stage
    reply: str


def replies(row: ReplyRow) -> Sequence[str]:
    """A reply for each code, status and example that the row names."""
    return [
        " ".join(part for part in (code, status, words or "so it is") if part)
        for status in _statuses(row)
        for code in _codes(row, status)
        for words in (row.example.split("; ") if row.says else ("",))
    ]


def _codes(row: ReplyRow, status: str) -> Sequence[str]:
    if row.code:
        return [_OF_CLASS.get(code, code) for code in row.code]
    if status:
        return [_OF_CLASS[status[0]]]
    return list(_OF_CLASS.values()) if row.says else ["399"]


def _statuses(row: ReplyRow) -> Sequence[str]:
    return [f"{status}.99" if status.count(".") == 1 else status for status in row.status] or [""]


SAMPLES = [Sample(row, stage, reply) for row in ROWS for stage in Stage if stage in row.at for reply in replies(row)]


def _cases() -> Iterator[Case]:
    for row, stage, reply in SAMPLES:
        yield Case(
            name=f"smtp {stage.value}: {reply}",
            meaning=row.meaning,
            answer=(stage, reply),
            submissions=1 if stage is Stage.DOT else 0,
            **({"to": UNUSUAL} if row.unusual else {}),
        )


SMTP_CASES: Sequence[Case] = list(_cases())


def _smtp(port: int, **more: str) -> Smtp:
    """It may log in without TLS, which a gateway's check of its settings does not allow."""
    environ = {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(port),
        "RELAYPOST_SMTP_IDLE_SECONDS": "0.000001",  # A new connection for each message.
        **more,
    }
    provider: Smtp = build("smtp", environ)
    return provider


@dataclass(slots=True)
class SmtpPeer:
    """A server that refuses at one stage, and providers that get there: STARTTLS or a log-in comes before MAIL."""

    fake: FakeSmtp
    with_log_in: Smtp
    with_starttls: Smtp
    provider: Any = field(init=False)

    def __post_init__(self) -> None:
        self.accept()

    @property
    def submissions(self) -> int:
        return len(self.fake.received)

    def accept(self) -> None:
        self.provider = self.with_log_in
        self.fake.replies = {"EHLO": EHLO, "AUTH": "235 2.7.0 Accepted"}

    def give(self, answer: tuple[Stage, str]) -> None:
        self.accept()
        stage, reply = answer
        self.fake.replies["." if stage is Stage.DOT else stage.value] = reply
        if stage is Stage.STARTTLS:
            self.provider = self.with_starttls


@asynccontextmanager
async def over_smtp() -> AsyncIterator[Peer]:
    async with fake_smtp() as fake:
        log_in = {"SMTP_USER": "ada", "SMTP_PASSWORD": "correct-horse", "RELAYPOST_SMTP_TLS": "none"}
        peer = SmtpPeer(fake, _smtp(fake.port, **log_in), _smtp(fake.port, RELAYPOST_SMTP_TLS="starttls"))
        yield peer
        await peer.with_log_in.close()
        await peer.with_starttls.close()
