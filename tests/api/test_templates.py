"""Templates over a real socket: shown by TemplateService, filled in by ordinary sends."""

from typing import Any

import grpc
import pytest
from relaypost.v1 import (
    email_pb2,
    message_pb2,
    messaging_service_pb2 as pb,
    sms_pb2,
    template_service_pb2 as tpb,
    template_service_pb2_grpc,
)

from tests.api.conftest import Serve, Served
from tests.api.status import failure_of

VALUES = {"code": "483920", "minutes": "5", "app": "Acme"}


def templates(served: Served) -> "template_service_pb2_grpc.TemplateServiceAsyncStub":
    return template_service_pb2_grpc.TemplateServiceStub(served.channel)


def email(**fields: Any) -> pb.SendEmailRequest:
    to = email_pb2.EmailAddress(address="ada@example.com")
    return pb.SendEmailRequest(email=email_pb2.Email(to=[to], **fields))


def sms(**fields: Any) -> pb.SendSmsRequest:
    return pb.SendSmsRequest(sms=sms_pb2.Sms(to="+14155550123", **fields))


async def test_every_template_is_listed_with_what_it_takes(serve: Serve) -> None:
    (otp,) = (await templates(await serve()).ListTemplates(tpb.ListTemplatesRequest())).templates
    assert (otp.name, otp.default_locale, otp.secret) == ("otp", "en", True)
    assert [v.name for v in otp.variables] == ["code", "minutes", "app", "purpose", "domain"]
    assert [v.optional for v in otp.variables] == [False, False, False, True, True]
    assert otp.variables[1].kind == tpb.VARIABLE_KIND_NUMBER
    assert "pt-BR" in otp.email_locales
    assert list(otp.sms_locales) == sorted(otp.sms_locales)


async def test_a_preview_takes_samples_for_what_is_missing(serve: Serve) -> None:
    stub = templates(await serve())
    request = tpb.PreviewTemplateRequest(
        template="otp", channel=message_pb2.CHANNEL_EMAIL, locale="de-AT", variables={"app": "O\x92Brien"}
    )
    shown = await stub.PreviewTemplate(request)
    assert (shown.locale, shown.segments) == ("de", 0)
    assert "O’Brien" in shown.subject
    assert "483920" in shown.text
    assert shown.html
    request.channel = message_pb2.CHANNEL_SMS
    shown = await stub.PreviewTemplate(request)
    assert (shown.subject, shown.html, shown.segments) == ("", "", 1)


async def test_a_preview_that_cannot_be_names_what_is_wrong(serve: Serve) -> None:
    stub = templates(await serve())
    failure = await failure_of(stub.PreviewTemplate(tpb.PreviewTemplateRequest()))
    assert set(failure.fields) == {"template", "channel"}
    request = tpb.PreviewTemplateRequest(
        template="otp", channel=message_pb2.CHANNEL_SMS, locale="?", variables={"code": "x", "no": "1"}
    )
    failure = await failure_of(stub.PreviewTemplate(request))
    assert set(failure.fields) == {"locale", 'variables["code"]', 'variables["no"]'}


async def test_a_template_gives_the_words_of_an_email(serve: Serve) -> None:
    served = await serve()
    await served.stub.SendEmail(email(template="otp", variables=VALUES, locale="fr, en;q=0.5"))
    (sent,) = served.emails.providers[0].received
    assert "Acme" in sent.content.subject
    assert "483920" in sent.content.text
    assert 'lang="fr"' in sent.content.html


async def test_a_template_gives_the_words_of_a_text(serve: Serve) -> None:
    served = await serve()
    await served.stub.SendSms(sms(template="otp", variables=VALUES))
    (sent,) = served.texts.providers[0].received
    assert sent.content.text == "483920 is your Acme code. Don't share it."


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (email(template="otp", variables=VALUES, text="Hi"), {"email.template"}),
        (email(template="otp"), {f'email.variables["{name}"]' for name in VALUES}),
        (email(template="none"), {"email.template"}),
        (email(subject="Hi", text="Hi", variables=VALUES, locale="de"), {"email.variables", "email.locale"}),
        (sms(template="otp", variables=VALUES, text="Hi"), {"sms.template"}),
        (sms(text="Hi", variables=VALUES), {"sms.variables"}),
    ],
)
async def test_words_that_do_not_go_together_are_refused(serve: Serve, request_: Any, fields: set[str]) -> None:
    served = await serve()
    call = served.stub.SendSms if isinstance(request_, pb.SendSmsRequest) else served.stub.SendEmail
    failure = await failure_of(call(request_))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert set(failure.fields) == fields
