"""The tables of fields: each proto field stands in them, and each provider does what its table says."""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import pytest
from relaypost.v1 import email_pb2, sms_pb2

from relaypost_server.core.message import Address, Attachment, Channel, IndiaDlt, SmsType, Tracking
from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.providers._fields import OF_TEMPLATES, Level
from relaypost_server.providers.field_table import TABLES, with_tables
from tests import messages, peers
from tests.fakes.http import Request, answer, fake_http
from tests.fakes.smtp import fake_smtp
from tests.providers.configured import OVER_HTTP, build

pytestmark = pytest.mark.usefixtures("aws_keys")

PAGE = peers.ROOT / "docs" / "providers.md"
BODIES = {
    "ses": b'{"MessageId":"id-1"}',
    "sendgrid": b"",
    "sns": b"<PublishResponse><PublishResult><MessageId>id-1</MessageId></PublishResult></PublishResponse>",
    "twilio": b'{"sid":"id-1","status":"queued"}',
}
STATUS = {"sendgrid": 202, "twilio": 201}


@dataclass(frozen=True)
class Sample:
    """A value of a field, and what of it arrives."""

    changes: Mapping[str, Any]
    sign: str
    """Where it is another one at a provider, see `SIGNS`."""


def file(**changes: Any) -> Mapping[str, Any]:
    fields: dict[str, Any] = {"filename": "plain.bin", "content": b"plain"}
    return {"html": "<img>", "attachments": (Attachment(**fields | changes),)}


EMAIL = {
    "sender": Sample({"sender": Address(email="author@sign.example")}, "author@sign.example"),
    "to": Sample({"to": (Address(email="to@sign.example"),)}, "to@sign.example"),
    "cc": Sample({"cc": (Address(email="cc@sign.example"),)}, "cc@sign.example"),
    "bcc": Sample({"bcc": (Address(email="bcc@sign.example"),)}, "bcc@sign.example"),
    "reply_to": Sample({"reply_to": (Address(email="reply@sign.example"),)}, "reply@sign.example"),
    "subject": Sample({"subject": "sign of the subject"}, "sign of the subject"),
    "text": Sample({"text": "sign of the text"}, "sign of the text"),
    "html": Sample({"html": "<p>sign of the html</p>"}, "sign of the html"),
    "attachments": Sample(file(filename="sign.bin"), "sign.bin"),
    "attachments.filename": Sample(file(filename="name-sign.bin"), "name-sign.bin"),
    "attachments.content_type": Sample(
        file(content_type="text/calendar; method=REQUEST"), "text/calendar; method=REQUEST"
    ),
    "attachments.content": Sample(file(content=b"sign of a file"), b64encode(b"sign of a file").decode()),
    "attachments.content_id": Sample(file(content_id="sign-of-an-id"), "sign-of-an-id"),
    "headers": Sample({"headers": {"X-Sign": "sign of a header"}}, "sign of a header"),
    "tags": Sample({"tags": {"kind": "sign-of-a-tag"}}, "sign-of-a-tag"),
    "envelope_sender": Sample({"envelope_sender": "bounce@sign.example"}, "bounce@sign.example"),
    "tracking": Sample({"tracking": Tracking.OFF}, ""),
}
SMS = {
    "to": Sample({"to": "+14155550177"}, "+14155550177"),
    "region_code": Sample({}, ""),
    "text": Sample({"text": "sign of the text"}, "sign of the text"),
    "sender_id": Sample({"sender_id": "SIGN", "to": "+4915112345678", "country": "DE"}, "SIGN"),
    "message_type": Sample({"type": SmsType.PROMOTIONAL}, "Promotional"),
    "max_price": Sample({"max_price": Money(micros=990_000)}, "0.990000"),
    "sender_number": Sample({"sender_number": "+14155550188"}, "+14155550188"),
    "encoding": Sample({}, ""),
    "india_dlt": Sample(
        {
            "india_dlt": IndiaDlt(entity_id="SIGNENTITY", template_id="SIGNTEMPLATE"),
            "to": "+919876543210",
            "country": "IN",
        },
        "SIGNENTITY",
    ),
}
SIGNS = {
    ("ses", "tracking"): '"ClickTrackingEnabled": "DISABLED"',
    ("sendgrid", "tracking"): '"click_tracking"',
    ("twilio", "max_price"): "",
}
"""An empty sign: the field leaves none in the request."""


async def arrived(name: str, message: Any) -> tuple[Outcome, str]:
    """What the provider made of the message, and what it was given, in a form that shows texts as they are."""
    if name == "smtp":
        async with fake_smtp() as smtp:
            environ = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(smtp.port), "RELAYPOST_SMTP_TLS": "none"}
            provider = build(name, environ)
            outcome = await provider.send(message, timeout=20.0)
            await provider.close()
        return outcome, "\n".join(
            [*(line for lines in smtp.envelopes for line in lines), *map(bytes.decode, smtp.received)]
        )
    async with fake_http(answer(STATUS.get(name, 200), BODIES[name], X_Message_Id="id-1")) as fake:
        provider = build(name, OVER_HTTP[name](fake.url))
        outcome = await provider.send(message, timeout=20.0)
        await provider.close()
    return outcome, "\n".join(_shown(request) for request in fake.received)


def _shown(request: Request) -> str:
    if request.body.startswith(b"{"):
        return json.dumps(json.loads(request.body))
    return "\n".join(value for _, value in parse_qsl(request.body.decode()))


CELLS = [
    (channel, name, field)
    for channel, providers in TABLES.items()
    for name, fields in providers.items()
    for field in fields
    if field not in OF_TEMPLATES
]


@pytest.mark.parametrize(("channel", "name", "field"), CELLS, ids=str)
async def test_a_provider_does_what_its_table_says(channel: Channel, name: str, field: str) -> None:
    support, sample = TABLES[channel][name][field], (EMAIL if channel is Channel.EMAIL else SMS)[field]
    make = messages.email if channel is Channel.EMAIL else messages.sms
    sign = SIGNS.get((name, field), sample.sign)
    without, plain = await arrived(name, make())
    outcome, given = await arrived(name, make(**sample.changes))
    assert without.kind is Kind.ACCEPTED
    if support.level is Level.UNSUPPORTED:
        assert (outcome.kind, given) == (Kind.UNSUPPORTED, "")
        assert outcome.detail
        return
    assert outcome.kind is Kind.ACCEPTED, outcome
    if support.level is Level.LEFT_OUT:
        assert not sign or sign not in given
    elif sign:
        assert sign in given
        assert sign not in plain


@pytest.mark.parametrize(
    ("channel", "message", "parts"),
    [
        (Channel.EMAIL, email_pb2.Email, {"attachments": email_pb2.Attachment}),
        (Channel.SMS, sms_pb2.Sms, {}),
    ],
)
def test_every_field_of_the_api_stands_in_every_table(channel: Channel, message: Any, parts: Mapping[str, Any]) -> None:
    names = {field.name for field in message.DESCRIPTOR.fields}
    names |= {f"{part}.{field.name}" for part, kind in parts.items() for field in kind.DESCRIPTOR.fields}
    for provider, fields in TABLES[channel].items():
        assert set(fields) == names, provider


def test_the_documentation_holds_the_tables() -> None:
    page = PAGE.read_text()
    assert with_tables(page) == page, "run make docs"
    assert page.count("| `envelope_sender` |") == 1
    assert "| `sender_number` | carried" in page
