"""Every row of every provider's table of answers as a case, and peers that give such an answer.

A provider that speaks something else adds its peer to PEERS and its cases to CASES.
"""

import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from relaypost_server.providers import _aws_answers, sendgrid_answers, ses_answers, sns_answers, twilio_answers
from relaypost_server.providers._answer_table import FAILURES, OK, REDIRECTS, REFUSALS, AnswerTable, Row
from tests.fakes.http import FakeHttp, Reply, answer, fake_http
from tests.providers.cases import Case, Peer
from tests.providers.configured import OVER_HTTP, build, warmed_up
from tests.providers.smtp_cases import SMTP_CASES, over_smtp

TABLES: Mapping[str, AnswerTable] = {
    "ses": ses_answers.TABLE,
    "sendgrid": sendgrid_answers.TABLE,
    "sns": sns_answers.TABLE,
    "twilio": twilio_answers.TABLE,
}
ID = "id-1"


@dataclass(slots=True)
class HttpPeer:
    """A provider that speaks HTTP."""

    provider: Any
    fake: FakeHttp

    @property
    def submissions(self) -> int:
        return len(self.fake.received)

    def accept(self) -> None:
        self.fake.always(_reply(self.provider.name, 202, has_id=True))

    def give(self, answer: Reply) -> None:
        self.fake.always(answer)


@asynccontextmanager
async def over_http(name: str) -> AsyncIterator[Peer]:
    async with fake_http() as fake:
        provider = await warmed_up(build(name, OVER_HTTP[name](fake.url)))
        yield HttpPeer(provider, fake)
        await provider.close()


PEERS: Mapping[str, Callable[[], AbstractAsyncContextManager[Peer]]] = {
    **{name: partial(over_http, name) for name in TABLES},
    "smtp": over_smtp,
}
"""By provider."""
SECOND = {"smtp": "ses", "ses": "sendgrid", "sendgrid": "ses", "sns": "twilio", "twilio": "sns"}
"""Who is asked next, for each provider."""


def replies(name: str, row: Row) -> Sequence[Reply]:
    """Answers that the row is about, one for each status, code, field and word that it names."""
    return [
        _reply(name, status, code=code, text=word, field=_indexed(path), has_id=row.has_id)
        for status in _statuses(row)
        for code in row.codes or ("SomethingNew" if row.coded else "",)
        for path in row.fields or ("",)
        for word in row.words or ("",)
    ]


def _statuses(row: Row) -> Collection[int]:
    if isinstance(row.statuses, range):
        return [{OK: 203, REDIRECTS: 302, REFUSALS: 400, FAILURES: 500}[row.statuses]]
    return row.statuses or [400 if row.codes or row.words else 418]


def _indexed(path: str) -> str:
    """As SendGrid names the field of one entry."""
    return path.replace("personalizations", "personalizations.0") + ".0.email" if path else ""


def _reply(name: str, status: int, *, code: str = "", text: str = "", field: str = "", has_id: bool = False) -> Reply:
    message = f"It is so that {text}, sadly"
    body: Any = {"message": message}
    match name:
        case "ses":
            body |= {"MessageId": ID} if has_id else {}
            return answer(status, json.dumps(body).encode(), **({"x_amzn_errortype": code} if code else {}))
        case "sns":
            told = f"<MessageId>{ID}</MessageId>" if has_id else ""
            said = f"<Code>{code}</Code>" if code else ""
            return answer(status, f"<R><Error>{said}<Message>{message}</Message></Error>{told}</R>".encode())
        case "twilio":
            body |= ({"sid": ID} if has_id else {}) | ({"code": int(code)} if code else {})
            return answer(status, json.dumps(body).encode())
        case _:
            body = {"errors": [{"message": message, "field": field or None}]}
            return answer(status, json.dumps(body).encode(), X_Message_Id=ID)


CASES: Mapping[str, Sequence[Case]] = {
    **{
        name: [
            Case(
                name=f"{name}: {row.answer}",
                meaning=row.meaning,
                answer=reply,
                submissions=2 if row is _aws_answers.EXPIRED else 1,
            )
            for row in table.rows
            for reply in replies(name, row)
        ]
        for name, table in TABLES.items()
    },
    "smtp": SMTP_CASES,
}
"""By provider: an answer for everything that each row names."""
