"""Bad input: every bad field is named at once, and nothing is sent."""

from typing import Any

import grpc
import pytest
from relaypost.v1 import email_pb2, message_pb2, messaging_service_pb2 as pb, sms_pb2

from relaypost_server.core.message import Address
from tests.api.conftest import Serve
from tests.api.status import failure_of

MIB = 1024 * 1024


def address(text: str = "ada@example.com", name: str = "") -> email_pb2.EmailAddress:
    return email_pb2.EmailAddress(address=text, display_name=name)


def email(**changes: Any) -> pb.SendEmailRequest:
    fields: dict[str, Any] = {"to": [address()], "subject": "Hello", "text": "Hi"}
    return pb.SendEmailRequest(email=email_pb2.Email(**fields | changes))


def sms(**changes: Any) -> pb.SendSmsRequest:
    fields: dict[str, Any] = {"to": "+14155550123", "text": "Hi"}
    return pb.SendSmsRequest(sms=sms_pb2.Sms(**fields | changes))


def file(**changes: Any) -> email_pb2.Attachment:
    fields: dict[str, Any] = {"filename": "a.txt", "content": b"x"}
    return email_pb2.Attachment(**fields | changes)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.SendEmailRequest(), "email"),
        (email(to=[]), "email.to"),
        (email(to=[address(f"a{i}@example.com") for i in range(51)]), "email.to"),
        (email(to=[address()] * 30, cc=[address("b@x.org")] * 21), "email.to"),
        (email(to=[address("")]), "email.to[0].address"),
        (email(to=[address("not an address")]), "email.to[0].address"),
        (email(to=[address("a@x.org\r\nBcc: evil@x.org")]), "email.to[0].address"),
        (email(to=[address("a@x.org\x00")]), "email.to[0].address"),
        (email(to=[address("é" * 33 + "@example.com")]), "email.to[0].address"),
        (email(to=[address('"a@b"@example.com')]), "email.to[0].address"),
        (email(envelope_sender="Ada <ada@example.com>"), "email.envelope_sender"),
        (email(envelope_sender="x"), "email.envelope_sender"),
        (email(tracking=9), "email.tracking"),
        (email(to=[address("a" * 65 + "@example.com")]), "email.to[0].address"),
        (email(to=[address("=?utf-8?q?evil=40x.org=3e?=@example.com")]), "email.to[0].address"),
        (email(to=[address(), address("b")]), "email.to[1].address"),
        (email(cc=[address("b")]), "email.cc[0].address"),
        (email(bcc=[address("b")]), "email.bcc[0].address"),
        (email(sender=address("b")), "email.sender.address"),
        (email(reply_to=[address("b")]), "email.reply_to[0].address"),
        (email(reply_to=[address()] * 11), "email.reply_to"),
        (email(to=[address(name="x\r\nBcc: evil@x.org")]), "email.to[0].display_name"),
        (email(to=[address(name="\u202egro.elpmaxe")]), "email.to[0].display_name"),
        (email(to=[address(name="=?utf-8?q?x=0D=0ABcc:?=")]), "email.to[0].display_name"),
        (email(to=[address(name="x" * 129)]), "email.to[0].display_name"),
        (email(subject=""), "email.subject"),
        (email(subject="a\nb"), "email.subject"),
        (email(subject="a\u2028b"), "email.subject"),
        (email(subject="=?utf-8?B?DQpCY2M6?="), "email.subject"),
        (email(subject="=??q?a=0D=0A?="), "email.subject"),
        (email(subject="=?utf-8?q?a?b=0D=0A?="), "email.subject"),
        (email(subject="x" * 999), "email.subject"),
        (email(text=""), "email.text"),
        (email(text="a\x00b"), "email.text"),
        (email(text="x" * (MIB + 1)), "email.text"),
        (email(text="é" * (MIB // 2 + 1)), "email.text"),
        (email(html="a\x00b"), "email.html"),
        (email(attachments=[file(content=b"x" * 50 * MIB)]), "email.attachments"),
        (email(attachments=[file()] * 21), "email.attachments"),
        (email(attachments=[file(content_id="a"), file(content_id="a")]), "email.attachments"),
        (email(attachments=[file(filename="")]), "email.attachments[0].filename"),
        (email(attachments=[file(filename="../../etc/passwd")]), "email.attachments[0].filename"),
        (email(attachments=[file(filename="a\u202etxt.exe")]), "email.attachments[0].filename"),
        (email(attachments=[file(content_type="text/csv; charset")]), "email.attachments[0].content_type"),
        (email(attachments=[file(content_type="text/csv; a=b; A=c")]), "email.attachments[0].content_type"),
        (email(attachments=[file(content_type='text/csv; a="é"')]), "email.attachments[0].content_type"),
        (email(attachments=[file(content_type="text/csv; a=" + "b" * 255)]), "email.attachments[0].content_type"),
        (email(attachments=[file(content_type="text/html\r\nX: y")]), "email.attachments[0].content_type"),
        (email(attachments=[file(content_type="message/rfc822")]), "email.attachments[0].content_type"),
        (email(attachments=[file(content_id="<a>")]), "email.attachments[0].content_id"),
        (email(headers={"Bcc": "evil@x.org"}), 'email.headers["Bcc"]'),
        (email(headers={"Content-Type": "x"}), 'email.headers["Content-Type"]'),
        (email(headers={"X-SMTPAPI": '{"to":["evil@x.org"]}'}), 'email.headers["X-SMTPAPI"]'),
        (email(headers={"X-MSYS-API": '{"bcc":["evil@x.org"]}'}), 'email.headers["X-MSYS-API"]'),
        (email(headers={"X-MC-BccAddress": "evil@x.org"}), 'email.headers["X-MC-BccAddress"]'),
        (email(headers={"X-Ok": "a\r\nBcc: evil@x.org"}), 'email.headers["X-Ok"]'),
        (email(headers={"X-Ok": "ünï\u2028"}), 'email.headers["X-Ok"]'),
        (email(headers={"X-Ok": "=?utf-8?q?a?="}), 'email.headers["X-Ok"]'),
        (email(headers={"X-Ok": ""}), 'email.headers["X-Ok"]'),
        (email(headers={"X-Ok": "x" * 996}), 'email.headers["X-Ok"]'),
        (email(headers={"X\r\nBcc": "evil@x.org"}), "email.headers (key 1 by name)"),
        (email(headers={f"X-{i}": "x" for i in range(16)}), "email.headers"),
        (email(headers={"X-A": "1", "x-a": "2"}), "email.headers"),
        (email(tags={"a b": "c"}), "email.tags (key 1 by name)"),
        (email(tags={"a": "c d"}), 'email.tags["a"]'),
        (email(tags={"relaypost_message_id": "x"}), "email.tags (key 1 by name)"),
        (email(tags={f"t{i}": "x" for i in range(11)}), "email.tags"),
    ],
)
async def test_bad_emails(serve: Serve, request_: pb.SendEmailRequest, field: str) -> None:
    served = await serve()
    failure = await failure_of(served.stub.SendEmail(request_))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.reason == "INVALID_FIELD"
    assert list(failure.fields) == [field]
    assert served.emails.providers[0].received == []
    assert served.emails.log.records == []


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.SendSmsRequest(), "sms"),
        (sms(to=""), "sms.to"),
        (sms(to="hello"), "sms.to"),
        (sms(to="+1415"), "sms.to"),
        (sms(to="+999123456789"), "sms.to"),
        (sms(to="+14155550123\r\n+14155550124"), "sms.to"),
        (sms(to="4155550123"), "sms.to"),
        (sms(to="4155550123", region_code="usa"), "sms.region_code"),
        (sms(to="4155550123", region_code="XX"), "sms.region_code"),
        (sms(text=""), "sms.text"),
        (sms(text="  \n"), "sms.text"),
        (sms(text="x" * 1601), "sms.text"),
        (sms(text="a\x00b"), "sms.text"),
        (sms(to="+14155550123 ext. 5"), "sms.to"),
        (sms(sender_id="a\x00b"), "sms.sender_id"),
        (sms(sender_id="abcdefghijkl"), "sms.sender_id"),
        (sms(sender_id="12345"), "sms.sender_id"),
        (sms(sender_id="+14155550100"), "sms.sender_id"),
        (sms(sender_id="Joe's"), "sms.sender_id"),
        (sms(sender_id=" "), "sms.sender_id"),
        (sms(sender_id="x" * 10_000), "sms.sender_id"),
        (sms(sender_id="Acme", sender_number="+14155550100"), "sms.sender_number"),
        (sms(sender_number="12"), "sms.sender_number"),
        (sms(sender_number="4155550100"), "sms.sender_number"),
        (sms(sender_number="Acme"), "sms.sender_number"),
        (sms(encoding=9), "sms.encoding"),
        (sms(encoding=sms_pb2.SMS_ENCODING_GSM7, text="\u2026" * 534), "sms.text"),
        (sms(encoding=sms_pb2.SMS_ENCODING_GSM7, text="\u200b"), "sms.text"),
        (sms(india_dlt=sms_pb2.IndiaDlt(template_id="1")), "sms.india_dlt.entity_id"),
        (sms(india_dlt=sms_pb2.IndiaDlt(entity_id="1" * 31, template_id="1")), "sms.india_dlt.entity_id"),
        (sms(india_dlt=sms_pb2.IndiaDlt(entity_id="1")), "sms.india_dlt.template_id"),
        (sms(message_type=9), "sms.message_type"),
        (sms(max_price=message_pb2.Money(currency_code="EUR", micros=1)), "sms.max_price.currency_code"),
        (sms(max_price=message_pb2.Money(currency_code="USD", micros=0)), "sms.max_price.micros"),
    ],
)
async def test_bad_text_messages(serve: Serve, request_: pb.SendSmsRequest, field: str) -> None:
    served = await serve()
    failure = await failure_of(served.stub.SendSms(request_))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(failure.fields) == [field]
    assert served.texts.providers[0].received == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"metadata": {f"k{i}": "v" for i in range(21)}}, "metadata"),
        ({"metadata": {"": "v"}}, "metadata (key 1 by name)"),
        ({"metadata": {"k" * 65: "v"}}, "metadata (key 1 by name)"),
        ({"metadata": {"k": "v" * 513}}, 'metadata["k"]'),
        ({"metadata": {"k": "a\x00"}}, 'metadata["k"]'),
        ({"delivery_guarantee": 9}, "delivery_guarantee"),
    ],
)
async def test_bad_options(serve: Serve, changes: dict[str, Any], field: str) -> None:
    served = await serve()
    request = pb.SendEmailRequest(email=email().email, **changes)
    assert list((await failure_of(served.stub.SendEmail(request))).fields) == [field]
    text = pb.SendSmsRequest(sms=sms().sms, **changes)
    assert list((await failure_of(served.stub.SendSms(text))).fields) == [field]


async def test_every_bad_field_is_named_at_once(serve: Serve) -> None:
    served = await serve()
    request = email(to=[address("x"), address("y")], subject="", text="", headers={"To": "z"})
    failure = await failure_of(served.stub.SendEmail(request))
    assert set(failure.fields) == {
        "email.to[0].address",
        "email.to[1].address",
        "email.subject",
        "email.text",
        'email.headers["To"]',
    }


async def test_a_thousand_bad_fields_fit_into_the_trailers(serve: Serve) -> None:
    served = await serve()
    bad = [address("x", "\n") for _ in range(50)]
    request = email(to=bad, cc=bad, bcc=bad, reply_to=bad[:10], headers={f"X{i}": "\n" for i in range(15)})
    failure = await failure_of(served.stub.SendEmail(request))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert len(failure.fields) == 31
    assert any("more fields" in text for text in failure.fields.values())


async def test_no_complaint_repeats_what_it_is_about(serve: Serve) -> None:
    served = await serve()
    request = email(to=[address("secret-canary")], subject="secret-canary\n", headers={"X-A": "secret-canary\n"})
    failure = await failure_of(served.stub.SendEmail(request))
    assert "secret-canary" not in f"{failure.text} {failure.fields}"


async def test_addresses_are_normalised_and_used_once(serve: Serve) -> None:
    served = await serve()
    to = [address("Ada@EXAMPLE.com", "Ada"), address("ada@example.COM")]
    request = email(to=to, cc=[address("ada@example.com"), address("grace@bücher.example")])
    message = (await served.stub.SendEmail(request)).message
    assert list(message.recipients) == ["Ada@example.com", "grace@xn--bcher-kva.example"]


@pytest.mark.parametrize(
    ("to", "region", "normalised", "country"),
    [
        ("+1 (415) 555-0123", "", "+14155550123", "US"),
        ("415-555-0123", "US", "+14155550123", "US"),
        ("0151 12345678", "DE", "+4915112345678", "DE"),
        ("+1 613-555-0123", "", "+16135550123", "CA"),
    ],
)
async def test_phone_numbers_are_normalised(serve: Serve, to: str, region: str, normalised: str, country: str) -> None:
    served = await serve()
    message = (await served.stub.SendSms(sms(to=to, region_code=region))).message
    assert list(message.recipients) == [normalised]
    assert served.texts.providers[0].received[0].content.country == country


async def test_the_gateways_sender_fills_in(serve: Serve) -> None:
    served = await serve(default_sender=Address(email="noreply@example.com", name="Example"))
    await served.stub.SendEmail(email())
    await served.stub.SendEmail(email(sender=address("own@example.com", "Own")))
    senders = [m.content.sender for m in served.emails.providers[0].received]
    assert senders == [
        Address(email="noreply@example.com", name="Example"),
        Address(email="own@example.com", name="Own"),
    ]


@pytest.mark.parametrize("text", ["שלום 👩‍👩‍👧", "مرحبا\u200f", "Re: [x] =?", "x" * 998])
async def test_honest_subjects_pass_as_they_are(serve: Serve, text: str) -> None:
    served = await serve()
    await served.stub.SendEmail(email(subject=text))
    assert served.emails.providers[0].received[0].content.subject == text
