"""Who text messages come from, on the wire of each provider."""

import json
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest

from relaypost_server.core.adjustments import AdjustmentKind
from relaypost_server.core.message import IndiaDlt
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.providers import _attempt_time
from relaypost_server.providers._refused_names import MOST_REMEMBERED, REMEMBERED_SECONDS, RefusedNames
from relaypost_server.providers._sns_settings import SnsSettings
from relaypost_server.providers._twilio_settings import TwilioSettings
from relaypost_server.settings import read
from tests import messages
from tests.fakes.http import CLOSE, HANG, FakeHttp, Reply, Request, answer, fake_http
from tests.providers.configured import AWS, OVER_HTTP, TWILIO, build, warmed_up

pytestmark = pytest.mark.usefixtures("aws_keys")

NUMBER, SERVICE = "+14155550100", "MG0123456789abcdef0123456789abcdef"
ABROAD: dict[str, Any] = {"to": "+4915112345678", "country": "DE"}
TAKEN = answer(201, b'{"sid":"id-1"}', Content_Type="application/json")
PUBLISHED = answer(
    200, b"<PublishResponse><PublishResult><MessageId>id-1</MessageId></PublishResult></PublishResponse>"
)


def refused(code: int, status: int = 400) -> Reply:
    return answer(status, json.dumps({"code": code, "message": "no"}).encode(), Content_Type="application/json")


def form_of(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(request.body.decode()).items()}


def attributes_of(request: Request) -> dict[str, str]:
    form = form_of(request)
    entries = [f"MessageAttributes.entry.{n}" for n in range(1, 8)]
    return {form[f"{e}.Name"]: form[f"{e}.Value.StringValue"] for e in entries if f"{e}.Name" in form}


@pytest.fixture
async def peer() -> AsyncIterator[FakeHttp]:
    async with fake_http() as fake:
        yield fake


@pytest.fixture
async def provider_with(peer: FakeHttp) -> AsyncIterator[Callable[..., Any]]:
    built = []

    def make(name: str, **environ: str) -> Any:
        built.append(build(name, {**OVER_HTTP[name](peer.url), **environ}))
        return built[-1]

    yield make
    for provider in built:
        await provider.close()


async def send(provider: Any, timeout: float = 5.0, **sms: Any) -> Outcome:
    await warmed_up(provider)
    outcome: Outcome = await provider.send(messages.sms(**sms), timeout=timeout)
    return outcome


def told(outcome: Outcome) -> list[tuple[str, AdjustmentKind]]:
    return [(a.field, a.kind) for a in outcome.adjustments]


@pytest.mark.parametrize(
    ("sms", "sender"),
    [
        ({}, {"From": NUMBER}),
        ({**ABROAD, "sender_id": "AT&T"}, {"From": "AT&T"}),
        ({**ABROAD, "sender_id": "My Shop"}, {"From": "My Shop"}),
        ({"sender_id": "Acme"}, {"From": NUMBER}),
        ({"to": "+18764123456", "country": "JM", "sender_id": "Acme"}, {"From": "Acme"}),
        ({"sender_number": "+14155550111"}, {"From": "+14155550111"}),
        ({"sender_number": "12345"}, {"From": "12345"}),
        ({"to": "+919876543210", "country": "IN", "sender_id": "Acme"}, {"From": "ACMEIN"}),
    ],
)
async def test_twilio_has_one_sender(
    peer: FakeHttp, provider_with: Callable[..., Any], sms: dict[str, Any], sender: dict[str, str]
) -> None:
    peer.always(TAKEN)
    outcome = await send(provider_with("twilio", RELAYPOST_TWILIO_SENDERS='{"IN": "ACMEIN"}'), **sms)
    assert outcome.kind is Kind.ACCEPTED
    (request,) = peer.received
    assert {n: v for n, v in form_of(request).items() if n in ("From", "MessagingServiceSid")} == sender


@pytest.mark.parametrize(
    ("sms", "name", "number"),
    [
        ({}, "", NUMBER),
        ({**ABROAD, "sender_id": "Acme-Co"}, "Acme-Co", ""),
        ({"sender_id": "Acme"}, "", NUMBER),
        ({"to": "+18764123456", "country": "JM", "sender_id": "Acme"}, "Acme", ""),
        ({**ABROAD, "sender_number": "12345"}, "", "12345"),
        ({"to": "+919876543210", "country": "IN", "sender_id": "Acme"}, "ACMEIN", ""),
        ({"to": "+33612345678", "country": "FR", "sender_id": "Acme"}, "", "36179"),
    ],
)
async def test_sns_gets_a_sender_id_or_a_number_and_never_both(
    peer: FakeHttp, provider_with: Callable[..., Any], sms: dict[str, Any], name: str, number: str
) -> None:
    peer.always(PUBLISHED)
    environ = {"RELAYPOST_SNS_ORIGINATION_NUMBER": NUMBER, "RELAYPOST_SNS_SENDERS": '{"IN": "ACMEIN", "FR": "36179"}'}
    outcome = await send(provider_with("sns", **environ), **sms)
    assert outcome.kind is Kind.ACCEPTED
    (request,) = peer.received
    attributes = attributes_of(request)
    assert attributes.get("AWS.SNS.SMS.SenderID", "") == name
    assert attributes.get("AWS.MM.SMS.OriginationNumber", "") == number


@pytest.mark.parametrize("name", ["My Shop", "AT&T", "Acme_Co", "Zürich", "a.b", "a+b"])
async def test_a_name_that_sns_does_not_take_is_left_to_another_provider(
    peer: FakeHttp, provider_with: Callable[..., Any], name: str
) -> None:
    outcome = await send(provider_with("sns"), **ABROAD, sender_id=name)
    assert outcome.kind is Kind.UNSUPPORTED
    assert name not in outcome.detail
    assert peer.received == []


async def test_indias_registered_ids_go_to_india_alone(peer: FakeHttp, provider_with: Callable[..., Any]) -> None:
    peer.always(PUBLISHED)
    provider, dlt = provider_with("sns"), IndiaDlt(entity_id="1101234567890", template_id="1107654321")
    await send(provider, to="+919876543210", country="IN", india_dlt=dlt)
    await send(provider, **ABROAD, india_dlt=dlt)
    india, abroad = (attributes_of(request) for request in peer.received)
    assert india["AWS.MM.SMS.EntityId"] == "1101234567890"
    assert india["AWS.MM.SMS.TemplateId"] == "1107654321"
    assert not any("Id" in name for name in abroad)


@pytest.mark.parametrize("code", [21657, 21212])
@pytest.mark.parametrize(
    ("environ", "second"), [({}, {"From": NUMBER}), ({"RELAYPOST_TWILIO_MESSAGING_SERVICE_SID": SERVICE}, None)]
)
async def test_a_name_that_twilio_refuses_is_followed_by_the_number_and_told(
    peer: FakeHttp, provider_with: Callable[..., Any], code: int, environ: dict[str, str], second: dict[str, str] | None
) -> None:
    peer.reply = lambda request: refused(code) if form_of(request).get("From") == "Acme" else TAKEN
    provider = provider_with("twilio", **environ)
    outcome = await send(provider, **ABROAD, sender_id="Acme")
    assert (outcome.kind, outcome.provider_message_id) == (Kind.ACCEPTED, "id-1")
    assert told(outcome) == [("sms.sender_id", AdjustmentKind.REPLACED)]
    sender = {n: v for n, v in form_of(peer.received[1]).items() if n in ("From", "MessagingServiceSid")}
    assert sender == (second or {"MessagingServiceSid": SERVICE})
    assert len(peer.received) == 2
    again = await send(provider, **ABROAD, sender_id="Acme")
    assert told(again) == told(outcome)
    assert len(peer.received) == 3
    elsewhere = await send(provider, to="+33612345678", country="FR", sender_id="Acme")
    assert elsewhere.kind is Kind.ACCEPTED
    assert len(peer.received) == 5


async def test_one_number_that_a_name_does_not_reach_leaves_its_country_the_name(
    peer: FakeHttp, provider_with: Callable[..., Any]
) -> None:
    blocked = "+4915112345670"

    def reply(request: Request) -> Reply:
        form = form_of(request)
        return refused(21612) if (form["To"], form["From"]) == (blocked, "Acme") else TAKEN

    peer.reply = reply
    provider = provider_with("twilio")
    outcome = await send(provider, to=blocked, country="DE", sender_id="Acme")
    assert outcome.kind is Kind.ACCEPTED
    assert told(outcome) == [("sms.sender_id", AdjustmentKind.REPLACED)]
    other = await send(provider, **ABROAD, sender_id="Acme")
    assert (other.kind, told(other)) == (Kind.ACCEPTED, [])
    assert [form_of(request)["From"] for request in peer.received] == ["Acme", NUMBER, "Acme"]


async def test_numbers_of_no_known_country_do_not_share_what_is_remembered(
    peer: FakeHttp, provider_with: Callable[..., Any]
) -> None:
    peer.reply = lambda request: refused(21657) if form_of(request)["From"] == "Acme" else TAKEN
    provider = provider_with("twilio")
    for to in ("+88351001234", "+87012345678"):
        await send(provider, to=to, country="", sender_id="Acme")
    assert [form_of(request)["From"] for request in peer.received] == ["Acme", NUMBER] * 2


@pytest.mark.parametrize(
    ("reply", "kind"),
    [(TAKEN, Kind.ACCEPTED), (HANG, Kind.UNCONFIRMED), (CLOSE, Kind.UNCONFIRMED), (answer(500), Kind.UNCONFIRMED)],
)
async def test_what_may_have_been_taken_is_not_sent_again(
    peer: FakeHttp, provider_with: Callable[..., Any], reply: Reply, kind: Kind
) -> None:
    peer.always(reply)
    outcome = await send(provider_with("twilio"), 1.0, **ABROAD, sender_id="Acme")
    assert outcome.kind is kind
    assert len(peer.received) == 1


async def test_a_number_that_is_refused_is_not_tried_again(peer: FakeHttp, provider_with: Callable[..., Any]) -> None:
    peer.always(refused(21612))
    await send(provider_with("twilio"), **ABROAD)
    await send(provider_with("twilio"), **ABROAD, sender_number="12345")
    assert len(peer.received) == 2


async def test_where_the_number_is_refused_as_well_that_is_the_outcome(
    peer: FakeHttp, provider_with: Callable[..., Any]
) -> None:
    peer.reply = lambda request: refused(21657 if form_of(request)["From"] == "Acme" else 21610)
    outcome = await send(provider_with("twilio"), **ABROAD, sender_id="Acme")
    assert (outcome.provider_code, outcome.opted_out) == ("21610", True)
    assert len(peer.received) == 2


@pytest.mark.parametrize(("seconds", "requests"), [(9.4, 2), (9.6, 1)])
async def test_the_second_request_has_the_rest_of_the_attempts_time(
    monkeypatch: pytest.MonkeyPatch,
    peer: FakeHttp,
    provider_with: Callable[..., Any],
    seconds: float,
    requests: int,
) -> None:
    """The first answer takes so many seconds of ten, by a clock that the peer moves on."""
    now = 0.0
    monkeypatch.setattr(_attempt_time, "time", SimpleNamespace(monotonic=lambda: now))

    def reply(_: Request) -> Reply:
        nonlocal now
        now = seconds
        return refused(21657)

    peer.reply = reply
    outcome = await send(provider_with("twilio"), 10.0, **ABROAD, sender_id="Acme")
    assert outcome.provider_code == "21657"
    assert len(peer.received) == requests


def test_a_refused_name_is_remembered_for_a_while() -> None:
    now = 0.0
    names = RefusedNames(lambda: now)
    names.remember("DE", "Acme")
    assert ("DE", "Acme") in names
    assert ("FR", "Acme") not in names
    now = REMEMBERED_SECONDS + 1
    assert ("DE", "Acme") not in names


def test_the_oldest_names_are_forgotten_first() -> None:
    names = RefusedNames(lambda: 0.0)
    for number in range(MOST_REMEMBERED + 1):
        names.remember("DE", f"N{number}")
    assert ("DE", "N0") not in names
    assert ("DE", "N1") in names


@pytest.mark.parametrize(
    "senders", ["{", "[]", '"x"', '{"India": "ACME"}', '{"IN": ""}', '{"IN": 5}', '{"IN": "a much too long name"}', "1"]
)
def test_senders_that_cannot_be_read_are_a_mistake_in_the_settings(senders: str) -> None:
    for model, environ in ((TwilioSettings, TWILIO), (SnsSettings, AWS)):
        name = f"RELAYPOST_{model.title.rpartition(' ')[2].upper()}_SENDERS"
        settings, problems = read(model, environ | {name: senders})
        assert settings is None
        assert [p.setting for p in problems] == [name]
        assert "ACMEIN" in problems[0].fix
