"""Text messages as people and programs write them, over a real socket: each goes through, or its field is named."""

import unicodedata
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from relaypost.v1 import (
    email_pb2,
    message_pb2,
    messaging_service_pb2 as pb,
    sms_pb2,
    suppression_service_pb2 as suppression_pb,
    suppression_service_pb2_grpc,
)

from relaypost_server.api.texts import read_sms
from relaypost_server.api.violations import InvalidRequestError, Violations
from relaypost_server.core.message import Channel, IndiaDlt
from relaypost_server.core.ports import MessageQuery
from relaypost_server.core.record import MessageRecord
from relaypost_server.core.segments import is_gsm7
from tests.api.conftest import Serve, Served
from tests.api.status import failure_of
from tests.fakes.otp import built_in
from tests.fakes.providers import FakeProvider
from tests.faults import meaning

TRIMMED, DROPPED, REPLACED, REWRITTEN, IGNORED = (
    message_pb2.AdjustmentKind.Value(f"ADJUSTMENT_KIND_{name}")
    for name in ("TRIMMED", "DROPPED", "REPLACED", "REWRITTEN", "IGNORED")
)
CODE = {"code": "483920", "minutes": "5", "app": "Acme"}


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve()


async def send(served: Served, **fields: Any) -> message_pb2.Message:
    content = sms_pb2.Sms(**{"to": "+14155550123", **({} if "template" in fields else {"text": "Hi"}), **fields})
    return (await served.stub.SendSms(pb.SendSmsRequest(sms=content))).message


def told(message: message_pb2.Message) -> list[tuple[str, int]]:
    return [(a.field, a.kind) for a in message.adjustments]


def received(served: Served) -> Any:
    """The content that the provider was handed last."""
    return served.texts.providers[0].received[-1].content


async def test_a_pasted_text_is_repaired_and_the_change_is_told(served: Served) -> None:
    message = await send(served, text="It\x92s 5 \x80\x0b each")
    assert received(served).text == "It’s 5 € each"
    assert told(message) == [("sms.text", REPLACED), ("sms.text", DROPPED)]
    failure = await failure_of(send(served, text="\x0b"))
    assert failure.fields == {"sms.text": "is required"}


async def test_pasted_numbers_are_read_and_each_change_is_told(served: Served) -> None:
    typed = {
        "+1\u2011415\u2011555\u20110123": [],
        "\u202a+14155550123\u202c": [("sms.to", TRIMMED)],
        "\uff0b１４１５５５５０１２３": [],
        "tel:+1-415-555-0123": [],
        "00 1 415 555 0123": [("sms.to", REWRITTEN)],
        "+1 (415) 555-0123": [],
    }
    for number, changes in typed.items():
        message = await send(served, to=number)
        assert (list(message.recipients), told(message)) == (["+14155550123"], changes), number
    assert (await send(served, to="0044 20 7946 0958")).recipients == ["+442079460958"]


async def test_numbers_in_forms_that_their_country_gave_up_are_rewritten(served: Served) -> None:
    for number, present in (("+5215512345678", "+525512345678"), ("+54 9 11 15 2345 6789", "+5491123456789")):
        message = await send(served, to=number)
        assert (list(message.recipients), told(message)) == ([present], [("sms.to", REWRITTEN)])
    assert received(served).country == "AR"


def listed_queries(served: Served, monkeypatch: pytest.MonkeyPatch) -> list[MessageQuery]:
    """The queries that the log will get; it finds nothing."""
    queries: list[MessageQuery] = []

    async def listed(query: MessageQuery) -> list[MessageRecord]:
        queries.append(query)
        return []

    monkeypatch.setattr(served.emails.log, "list", listed)
    return queries


async def test_a_recipient_is_found_and_suppressed_in_every_typed_form(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = listed_queries(served, monkeypatch)
    typed = "\u202a+1\u2011415\u2011555\u20110123"
    for recipient in (typed, "ada＠example.com", " mailto:ada@example.com"):
        await served.stub.ListMessages(pb.ListMessagesRequest(recipient=recipient))
    assert [query.recipient for query in queries] == ["+14155550123", "ada@example.com", "ada@example.com"]
    suppressions: Any = suppression_service_pb2_grpc.SuppressionServiceStub(served.channel)
    request = suppression_pb.AddSuppressionRequest(address=f"{typed} ext. 5")
    failure = await failure_of(suppressions.AddSuppression(request))
    assert "extension" in failure.fields["address"]
    failure = await failure_of(suppressions.AddSuppression(suppression_pb.AddSuppressionRequest(address="a b＠c.de")))
    assert "email address" in failure.fields["address"]


async def test_senders_are_read_and_each_change_is_told(served: Served) -> None:
    for name in ("My Shop", "AT&T", "O2", "EE", "Acme_Co"):
        assert told(await send(served, to="+4915112345678", sender_id=name)) == []
        assert received(served).sender_id == name
    assert told(await send(served, sender_id="\u202aMy\u00a0Shop ")) == [("sms.sender_id", TRIMMED)]
    assert received(served).sender_id == "My Shop"
    numbers: dict[str, tuple[str, list[int]]] = {
        "+1 415 555 0100": ("+14155550100", []),
        "+5215512345678": ("+525512345678", [REWRITTEN]),
        "\u202a+14155550100 ": ("+14155550100", [TRIMMED]),
        "12345": ("12345", []),
        "٣٦١٧٩": ("36179", []),
        " 36179\u202c": ("36179", [TRIMMED]),
    }
    for number, (kept, kinds) in numbers.items():
        message = await send(served, sender_number=number)
        assert received(served).sender_number == kept
        assert message.sender == kept
        assert told(message) == [("sms.sender_number", kind) for kind in kinds]


async def test_pasted_metadata_is_repaired_in_sends_and_in_queries(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    pasted = {"name": "O\x92Brien\x1b"}
    request = pb.SendSmsRequest(sms=sms_pb2.Sms(to="+14155550123", text="Hi"), metadata=pasted)
    message = (await served.stub.SendSms(request)).message
    assert dict(message.metadata) == {"name": "O’Brien"}
    assert told(message) == [('metadata["name"]', REPLACED), ('metadata["name"]', DROPPED)]
    queries = listed_queries(served, monkeypatch)
    await served.stub.ListMessages(pb.ListMessagesRequest(metadata=pasted))
    assert [query.metadata for query in queries] == [{"name": "O’Brien"}]


@pytest.mark.parametrize("text", ["Hi\x00", "\x00"])
async def test_nul_is_refused_by_its_name(served: Served, text: str) -> None:
    failure = await failure_of(send(served, text=text))
    assert failure.fields == {"sms.text": "must not hold U+0000 (NUL)"}


async def test_signs_beyond_gsm_7_are_replaced_on_request(served: Served) -> None:
    text = "It’s “here” – come…" + "x" * 140
    as_it_is = await send(served, text=text)
    assert (received(served).text, told(as_it_is)) == (text, [])
    cheap = await send(served, text=text, encoding=sms_pb2.SMS_ENCODING_GSM7)
    assert received(served).text == 'It\'s "here" - come...' + "x" * 140
    assert told(cheap) == [("sms.text", REPLACED)]
    assert cheap.adjustments[0].description == "5 characters were replaced by GSM-7's, or dropped"
    mixed = await send(served, text="Привет’", encoding=sms_pb2.SMS_ENCODING_GSM7)
    assert "UCS-2" in mixed.adjustments[0].description
    values = CODE | {"app": "Joe’s"}
    made = await send(served, template="otp", variables=values, encoding=sms_pb2.SMS_ENCODING_GSM7)
    assert is_gsm7(received(served).text)
    assert told(made) == [("sms.text", REPLACED)]


async def test_unreadable_parts_of_a_locale_are_ignored_and_told(served: Served) -> None:
    wishes = {
        "de;q=0.47,-BE;q=0.43": [("sms.locale", IGNORED)],
        "de;q=.8": [],
        "de;q=0.8333333": [],
        "de_DE.UTF-8": [],
        "de," + "x" * 300: [("sms.locale", IGNORED)],
    }
    for locale, changes in wishes.items():
        assert told(await send(served, template="otp", variables=CODE, locale=locale)) == changes, locale
        assert "Code" in received(served).text
    for locale in ("x-default", "C.UTF-8", "../../etc/passwd"):
        message = await send(served, template="otp", variables=CODE, locale=locale)
        assert told(message) == [("sms.locale", IGNORED)]
        assert received(served).text == "483920 is your Acme code. Don't share it."
        assert locale not in message.adjustments[0].description
    to = email_pb2.EmailAddress(address="ada@example.com")
    email = email_pb2.Email(to=[to], template="otp", variables=CODE, locale="en-EN;q=0.47,-BE;q=0.43")
    answer = await served.stub.SendEmail(pb.SendEmailRequest(email=email))
    assert told(answer.message) == [("email.locale", IGNORED)]


async def test_indias_registered_ids_reach_the_provider(served: Served) -> None:
    dlt = sms_pb2.IndiaDlt(entity_id="1101234567890", template_id="1107654321")
    await send(served, to="+919876543210", india_dlt=dlt)
    assert received(served).india_dlt == IndiaDlt(entity_id="1101234567890", template_id="1107654321")


async def test_the_same_message_in_another_form_is_the_same_request(serve: Serve) -> None:
    served = await serve(texts=[FakeProvider("t", channel=Channel.SMS)])
    for number in ("+525512345678", "+52 1 55\u20111234\u20115678", "\u202a+525512345678"):
        sms = sms_pb2.Sms(to=number, text="Hi", sender_id="Shop")
        await served.stub.SendSms(pb.SendSmsRequest(sms=sms, request_id="r-1"))
    assert len({claim.fingerprint for claim in served.texts.requests.claims}) == 1


def is_sendable(text: str) -> bool:
    """Whether a pasted text is a valid one, by rules that are written here once more."""
    visible = [c for c in meaning.prose(text) if not c.isspace() and unicodedata.category(c) != "Cf"]
    return "\x00" not in text and len(text) <= 1600 and visible != []


_NEAR = st.text("0123456789+()-. ab&_\u202a\u2011\u00a0٤４’“…\u200b\n\x00;=telx%é漢🎉", max_size=24)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.fixed_dictionaries(
        {"to": _NEAR | st.just("+919876543210"), "text": st.text(max_size=30) | _NEAR | st.just("x" * 1601)},
        optional={
            "sender_id": _NEAR,
            "sender_number": _NEAR,
            "region_code": st.sampled_from(["US", "MX", "us", "XX"]),
            "encoding": st.sampled_from([0, 1, 2, 9]),
            "india_dlt": st.builds(sms_pb2.IndiaDlt, entity_id=_NEAR, template_id=_NEAR),
        },
    )
)
def test_every_text_message_is_read_or_each_invalid_field_is_named_with_its_cure(fields: dict[str, Any]) -> None:
    bad = Violations()
    content = read_sms(sms_pb2.Sms(**fields), built_in(), bad)
    try:
        bad.check()
    except InvalidRequestError as error:
        named = error.violations
    else:
        named = []
    assert all(field.startswith("sms.") and 0 < len(cure) < 200 for field, cure in named)
    if is_sendable(fields["text"]):
        assert "sms.text" not in dict(named)
    if named:
        return
    assert content.to.startswith("+")
    assert 0 < len(content.text) <= 1600
    assert not (content.sender_id and content.sender_number)
    assert all(a.field.startswith("sms.") and len(a.description) <= 200 for a in bad.adjustments)
    if fields.get("encoding") == sms_pb2.SMS_ENCODING_GSM7 and is_gsm7(fields["text"]):
        assert content.text == fields["text"]


async def test_each_invalid_field_is_named(served: Served) -> None:
    failure = await failure_of(send(served, to="+14155550123 x5", sender_id="Joe’s", sender_number="1"))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert set(failure.fields) == {"sms.to", "sms.sender_id", "sms.sender_number"}
