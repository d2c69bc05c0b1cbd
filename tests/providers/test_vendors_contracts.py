"""SendGrid and Twilio against the vendors' own contracts, served by Prism."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from relaypost_server.core.message import Address, Attachment, Tracking
from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind
from relaypost_server.core.ports import Level
from tests import messages, peers
from tests.providers.configured import OVER_HTTP, TWILIO, build

ICS = Attachment(filename="a.ics", content=b"BEGIN", content_type="text/calendar; method=REQUEST; charset=utf-8")


@pytest.fixture(scope="module")
def sendgrid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with peers.prism(peers.oracle("tsg_mail_v3.strict.json"), tmp_path_factory.mktemp("prism")) as url:
        yield url


@pytest.fixture(scope="module")
def twilio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with peers.prism(peers.oracle("twilio_messages_min.json"), tmp_path_factory.mktemp("prism")) as url:
        yield url


async def outcome_of(name: str, url: str, message: Any, **environ: str) -> Any:
    provider = build(name, {**OVER_HTTP[name](url), **environ})
    outcome = await provider.send(message, timeout=10.0)
    await provider.close()
    return outcome


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(messages.email(), id="plain"),
        pytest.param(messages.full_email(), id="everything"),
        pytest.param(messages.email(text="", html="<p>x</p>"), id="html only"),
        pytest.param(messages.email(subject="=?x", text="SG.abc.def"), id="what the SDK stumbles over"),
        pytest.param(messages.email(text="", attachments=(ICS,)), id="only files"),
        pytest.param(messages.email(tracking=Tracking.OFF), id="untracked"),
        pytest.param(messages.email(tracking=Tracking.ON), id="tracked"),
        pytest.param(messages.email(to=(Address(email="ada@example.com", name="A, B"),)), id="quoted"),
        pytest.param(messages.email(headers={"X-Org": "Société"}), id="encoded"),
    ],
)
async def test_sendgrid_takes_what_we_send(sendgrid: str, message: Any) -> None:
    outcome = await outcome_of("sendgrid", sendgrid, message)
    assert outcome.kind is Kind.ACCEPTED, outcome


async def test_sendgrid_in_sandbox_mode(sendgrid: str) -> None:
    outcome = await outcome_of("sendgrid", sendgrid, messages.email(), RELAYPOST_SENDGRID_SANDBOX="true")
    assert outcome.kind is Kind.ACCEPTED, outcome


async def test_the_contract_would_refuse_a_wrong_body(sendgrid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the tests above mean something."""
    from relaypost_server.providers import sendgrid as module
    from relaypost_server.providers.sendgrid_request import request_body as right

    def wrong(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return {**right(*args, **kwargs), "personalizations": []}

    monkeypatch.setattr(module, "request_body", wrong)
    assert (await outcome_of("sendgrid", sendgrid, messages.email())).kind is not Kind.ACCEPTED


async def test_sendgrid_without_a_recipient_in_to(sendgrid: str) -> None:
    message = messages.email(to=(), bcc=(Address(email="ada@example.com"),))
    assert (await outcome_of("sendgrid", sendgrid, message)).kind is Kind.UNSUPPORTED


@pytest.mark.parametrize(("code", "kind"), [(401, Kind.UNAUTHORIZED), (429, Kind.THROTTLED), (500, Kind.UNCONFIRMED)])
async def test_sendgrids_documented_errors(
    sendgrid: str, code: int, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prism answers with the example that the contract gives for a code."""
    provider = build("sendgrid", OVER_HTTP["sendgrid"](sendgrid))
    provider._headers += f"Prefer: code={code}\r\n"
    outcome = await provider.send(messages.email(), timeout=10.0)
    await provider.close()
    assert outcome.kind is kind


async def test_twilio_takes_what_we_send(twilio: str) -> None:
    outcome = await outcome_of("twilio", twilio, messages.sms())
    assert outcome.kind is Kind.ACCEPTED, outcome
    assert outcome.provider_message_id.startswith("SM")
    assert (outcome.segments, outcome.cost) == (1, Money(micros=11_800))


async def test_twilio_sends_from_a_messaging_service(twilio: str) -> None:
    service = "MG0123456789abcdef0123456789abcdef"
    outcome = await outcome_of("twilio", twilio, messages.sms(), RELAYPOST_TWILIO_MESSAGING_SERVICE_SID=service)
    assert outcome.kind is Kind.ACCEPTED, outcome


async def test_twilio_is_told_when_a_text_is_not_worth_delivering_any_more(twilio: str) -> None:
    from relaypost_server.core.senders import SmsSender
    from relaypost_server.providers._twilio_settings import TwilioSettings
    from relaypost_server.providers.twilio import request_form
    from relaypost_server.settings import read

    settings, _ = read(TwilioSettings, TWILIO)
    assert settings is not None
    assert "ValidityPeriod" not in request_form(messages.sms(), SmsSender(), settings)
    for validity, told in ((299.9, "299"), (0.4, "1"), (1e6, "36000")):
        assert request_form(messages.sms(validity=validity), SmsSender(), settings)["ValidityPeriod"] == told
    outcome = await outcome_of("twilio", twilio, messages.sms(validity=300.0))
    assert outcome.kind is Kind.ACCEPTED, outcome


async def test_the_contract_would_refuse_a_wrong_form(twilio: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from relaypost_server.providers import twilio as module

    monkeypatch.setattr(module, "request_form", lambda message, sender, settings: {"Body": message.content.text})
    assert (await outcome_of("twilio", twilio, messages.sms())).kind is not Kind.ACCEPTED


async def test_the_doctor_reads_the_twilio_account(twilio: str) -> None:
    provider = build("twilio", OVER_HTTP["twilio"](twilio))
    (finding,) = await provider.check()
    await provider.close()
    assert finding.level in (Level.OK, Level.WARNING), finding
    assert "balance" in finding.detail


@pytest.mark.parametrize(
    ("limit", "country", "kind"),
    [
        (11_800, "US", Kind.ACCEPTED),
        (11_799, "US", Kind.UNSUPPORTED),
        (1_000_000, "DE", Kind.UNSUPPORTED),
        (None, "DE", Kind.ACCEPTED),
    ],
)
async def test_no_message_costs_more_than_its_caller_allows(
    twilio: str, limit: int | None, country: str, kind: Kind
) -> None:
    """A country without a known price might."""
    price = None if limit is None else Money(micros=limit)
    message = messages.sms(max_price=price, country=country)
    assert (await outcome_of("twilio", twilio, message)).kind is kind


def test_the_contracts_are_read_from_outside_the_project() -> None:
    """They belong to the vendors: json is read, never copied."""
    assert json.loads(peers.oracle("tsg_mail_v3.strict.json").read_text())["openapi"]
    assert not peers.ORACLES.is_relative_to(peers.ROOT)
