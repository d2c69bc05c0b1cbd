"""What a provider says may repeat a message: only the attempt of that message shows it, and nothing else does.

Each part of a message carries a canary. Providers repeat all of them in every
answer; health, spans, log lines and metrics must hold none.
"""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from google.protobuf.json_format import MessageToJson
from hypothesis import given, strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from relaypost.v1 import message_pb2
from structlog.testing import LogCapture

from relaypost_server.api import pack
from relaypost_server.core.health import Health
from relaypost_server.core.message import Address, Channel, Guarantee
from relaypost_server.core.outcome import Outcome
from relaypost_server.core.record import MessageRecord
from relaypost_server.flow.health import HealthReader
from relaypost_server.providers import sendgrid_answers, ses_answers, sns_answers, twilio_answers
from relaypost_server.providers._connection import Answer
from relaypost_server.store import rows
from relaypost_server.telemetry.tracing import Tracing
from relaypost_server.web.health_json import health_json
from tests import messages
from tests.fakes.http import Reply, Request, answer, fake_http
from tests.fakes.providers import Rig
from tests.fakes.smtp import fake_smtp
from tests.providers.configured import OVER_HTTP, build, warmed_up

pytestmark = pytest.mark.usefixtures("aws_keys")

SUBJECT, TEXT, NAME = "Quokka subject", "Wombat text", "Numbat name"
RECIPIENT, PHONE, CODE = "platypus@recipient.example", "+14155550123", "482915"
WORDS = ("Quokka", "Wombat", "Numbat")
"""May be shown to the message's own caller."""
SECRETS = ("platypus", "4155550123", "482915")
"""Are never shown."""

EMAIL: dict[str, Any] = {
    "subject": f"{SUBJECT} {CODE}",
    "text": f"{TEXT} {CODE}",
    "to": (Address(email=RECIPIENT, name=NAME),),
}
SMS: dict[str, Any] = {"to": PHONE, "text": f"{SUBJECT} {TEXT} {NAME} {CODE}"}
ECHO = f"Invalid subject: {SUBJECT} {CODE}; text {TEXT}; to {NAME} <{RECIPIENT}> {PHONE}"


def echo(status: int) -> Reply:
    """Every text field that any provider's answers have, with the whole message in it."""
    body = {"message": ECHO, "Message": ECHO, "code": ECHO, "__type": ECHO, "sid": ECHO, "MessageId": ECHO}
    headers = {"x_amzn_errortype": ECHO, "X_Message_Id": ECHO, "Retry_After": ECHO}
    return answer(status, json.dumps({**body, "errors": [{"message": ECHO, "field": ECHO}]}).encode(), **headers)


def xml_echo(status: int) -> Reply:
    text = ECHO.replace("<", "&lt;")
    fields = "".join(f"<{name}>{text}</{name}>" for name in ("Code", "Message", "MessageId", "Type"))
    return answer(status, f"<R>{fields}</R>".encode())


@asynccontextmanager
async def over_http(name: str, status: int) -> AsyncIterator[Any]:
    def reply(request: Request) -> Reply:
        return xml_echo(status) if name == "sns" else echo(status)

    async with fake_http() as peer:
        peer.reply = reply
        provider = await warmed_up(build(name, OVER_HTTP[name](peer.url)))
        yield provider
        await provider.close()


@asynccontextmanager
async def over_smtp(command: str, code: str) -> AsyncIterator[Any]:
    async with fake_smtp(**{command: f"{code} {ECHO}"}) as peer:
        settings = {"SMTP_HOST": "127.0.0.1", "RELAYPOST_SMTP_TLS": "none", "SMTP_PORT": str(peer.port)}
        provider = build("smtp", settings)
        yield provider
        await provider.close()


STATUSES = (200, 201, 202, 307, 400, 401, 403, 404, 413, 418, 429, 451, 500, 503)
CASES: list[tuple[str, Callable[[], Any]]] = [
    *((f"{name} {status}", lambda n=name, s=status: over_http(n, s)) for name in OVER_HTTP for status in STATUSES),
    *(
        (f"smtp {command} {code}", lambda c=command, k=code: over_smtp(c, k))
        for command in ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "DOT")
        for code in ("250 2.0.0", "250", "421", "421 4.3.2", "450 4.2.0", "530", "550 5.1.1", "552 5.3.4", "what")
    ),
]


@pytest.fixture
def log_lines() -> Any:
    capture, before = LogCapture(), structlog.get_config()
    structlog.configure(processors=[structlog.processors.format_exc_info, capture], cache_logger_on_first_use=False)
    yield capture
    structlog.configure(**before)


def shown_to_everybody(rig: Rig, spans: InMemorySpanExporter, lines: LogCapture) -> str:
    """All that operators and other callers can see of what happened."""
    health: Health = HealthReader([rig.chain], rig.log).read()
    return "\n".join(
        [
            *(span.to_json() for span in spans.get_finished_spans()),
            *(repr(line) for line in lines.entries),
            rig.metrics.render().decode(),
            *(MessageToJson(pack.channel_health(channel)) for channel in health.channels),
            json.dumps(health_json(health)),
        ]
    )


def shown_to_the_caller(record: MessageRecord) -> str:
    """The attempts of its own message, in the answer and in the log."""
    packed = message_pb2.Message()
    for attempt in record.attempts:
        pack.fill_attempt(packed.attempts.add(), attempt)
    return MessageToJson(packed) + rows.inserted(record).decode().split('"attempts"')[1]


@pytest.mark.parametrize(("case", "made"), CASES, ids=[name for name, _ in CASES])
async def test_a_providers_words_reach_only_the_messages_own_caller(
    case: str, made: Callable[[], Any], log_lines: LogCapture
) -> None:
    exporter, tracer_provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with made() as provider:
        rig = Rig([provider], channel=provider.channel, tracing=Tracing(tracer_provider))
        message = messages.email(**EMAIL) if provider.channel is Channel.EMAIL else messages.sms(**SMS)
        sent = await rig.sender.send(message.content, guarantee=Guarantee.AT_MOST_ONCE, metadata={}, time_left=None)
    everybody = shown_to_everybody(rig, exporter, log_lines)
    assert [word for word in (*WORDS, *SECRETS) if word in everybody] == []
    own = shown_to_the_caller(sent.record)
    assert [word for word in SECRETS if word in own] == []


async def test_the_messages_own_caller_is_told_what_the_provider_said() -> None:
    async with over_http("ses", 400) as provider:
        rig = Rig([provider])
        sent = await rig.sender.send(
            messages.email(**EMAIL).content, guarantee=Guarantee.AT_MOST_ONCE, metadata={}, time_left=None
        )
    assert (
        "HTTP 400: an answer that the gateway does not know: Invalid subject: Quokka subject [number]; text Wombat text"
        in shown_to_the_caller(sent.record)
    )


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)
CANARY = "Quokka Wombat"
"""Two words, for one could be a code."""


def answers(text: str, status: int) -> Sequence[tuple[str, Outcome]]:
    """What every provider over HTTP makes of an answer that holds this text wherever texts are."""
    found = json.loads(echo(status).data.partition(b"\r\n\r\n")[2].decode().replace(json.dumps(ECHO), json.dumps(text)))
    body = json.dumps(found).encode()
    headers = {"x-amzn-errortype": text, "x-message-id": text, "retry-after": text, "x-ratelimit-reset": text}
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    xml = f"<R><Code>{escaped}</Code><Message>{escaped}</Message><MessageId>{escaped}</MessageId></R>".encode()
    return [
        ("ses", ses_answers.classify(Answer(status, headers, body))),
        ("sendgrid", sendgrid_answers.classify(Answer(status, headers, body))),
        ("twilio", twilio_answers.classify(Answer(status, headers, body))),
        ("sns", sns_answers.classify(Answer(status, headers, xml))),
    ]


@given(TEXTS, TEXTS, st.sampled_from(STATUSES))
def test_no_classification_puts_a_providers_words_into_detail(before: str, after: str, status: int) -> None:
    for provider, outcome in answers(f"{before}{CANARY}{after}", status):
        for shown in (outcome.detail, outcome.provider_code, outcome.provider_message_id):
            assert CANARY not in shown, provider
        assert len(outcome.full_detail) <= 200
