"""An API key of Twilio in place of the auth token, or beside it."""

import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qs

import pytest

from relaypost_server.core.ports import CallbackRefusedError, Disbelief, Level
from relaypost_server.core.price_ports import Unpriced
from relaypost_server.providers._twilio_settings import TwilioSettings
from relaypost_server.providers.twilio import Twilio
from relaypost_server.settings import read
from tests import messages
from tests.fakes.http import FakeHttp, Reply, Request, answer, fake_http
from tests.providers.configured import SECRETS, TWILIO
from tests.signing import PUBLIC_URL, twilio_callback

KEY = "SK0123456789abcdef0123456789abcdef"
SECRET = "the-secret-of-the-key-0123456789"
BY_KEY = {name: value for name, value in TWILIO.items() if name != "TWILIO_AUTH_TOKEN"} | {
    "TWILIO_API_KEY_SID": KEY,
    "TWILIO_API_KEY_SECRET": SECRET,
    "RELAYPOST_PUBLIC_URL": PUBLIC_URL,
}
BY_BOTH = BY_KEY | {"TWILIO_AUTH_TOKEN": SECRETS["TWILIO_AUTH_TOKEN"]}
WITH_KEY = "Basic " + b64encode(f"{KEY}:{SECRET}".encode()).decode()


def twilio(environ: Mapping[str, str], peer: FakeHttp) -> Twilio:
    settings, problems = read(TwilioSettings, {**environ, "RELAYPOST_TWILIO_ENDPOINT": peer.url})
    assert settings is not None, problems
    assert settings.configured
    assert settings.problems() == []
    return Twilio(settings)


@pytest.mark.parametrize(("environ", "receipts"), [(BY_KEY, False), (BY_BOTH, True)], ids=["key", "both"])
async def test_messages_and_look_ups_bear_the_key_and_receipts_need_the_token(
    environ: Mapping[str, str], receipts: bool
) -> None:
    async with fake_http(answer(201, b'{"sid": "SM1", "price": null}')) as peer:
        provider = twilio(environ, peer)
        await provider.send(messages.sms(), timeout=5.0)
        await provider.prices(
            [Unpriced(message_id=messages.ID, number=1, provider_message_id="SM1", start_time=datetime.now(UTC))]
        )
        sent, looked_up = peer.received
        await provider.close()
    assert [r.headers["authorization"] for r in (sent, looked_up)] == [WITH_KEY] * 2
    assert f"/Accounts/{TWILIO['TWILIO_ACCOUNT_SID']}/Messages" in sent.line
    assert f"/Accounts/{TWILIO['TWILIO_ACCOUNT_SID']}/Messages" in looked_up.line
    assert ("StatusCallback" in parse_qs(sent.body.decode())) is receipts
    assert provider.reports is receipts


async def test_without_the_token_no_receipt_is_believed() -> None:
    async with fake_http() as peer:
        provider = twilio(BY_KEY, peer)
        with pytest.raises(CallbackRefusedError) as caught:
            await provider.read_callback(twilio_callback({"MessageSid": "SM1", "MessageStatus": "delivered"}))
        assert caught.value.args == CallbackRefusedError(Disbelief.NOT_SET_UP).args
        await provider.close()


@pytest.mark.parametrize(
    ("status", "level"), [(200, Level.OK), (401, Level.FAILURE), (403, Level.UNKNOWN), (500, Level.UNKNOWN)]
)
async def test_doctor_asks_for_what_a_key_may_see(status: int, level: Level) -> None:
    def reply(request: Request) -> Reply:
        if "Balance" not in request.line:  # As a Standard key is answered that asks for the account.
            return answer(401, b'{"code": 20003}')
        return answer(status, json.dumps({"balance": "12.50", "currency": "USD", "code": 1}).encode())

    async with fake_http() as peer:
        peer.reply = reply
        provider = twilio(BY_KEY, peer)
        found = {f.subject: f for f in await provider.check()}
        await provider.close()
    assert found["account"].level is level
    assert found["receipts"].level is Level.WARNING
    assert "TWILIO_AUTH_TOKEN" in found["receipts"].fix
    shown = repr(found)
    assert SECRET not in shown
    assert KEY not in shown


@pytest.mark.parametrize(
    ("lacking", "complaint"),
    [
        ("TWILIO_API_KEY_SECRET", "TWILIO_API_KEY_SECRET"),
        ("TWILIO_API_KEY_SID", "TWILIO_API_KEY_SID"),
        ("TWILIO_ACCOUNT_SID", "TWILIO_ACCOUNT_SID"),
    ],
)
def test_half_a_key_is_a_mistake(lacking: str, complaint: str) -> None:
    settings, _ = read(TwilioSettings, {name: value for name, value in BY_KEY.items() if name != lacking})
    assert settings is not None
    assert [p.setting for p in settings.problems()] == [complaint]
    assert not settings.configured


def test_an_account_without_token_and_key_is_a_mistake() -> None:
    environ = {name: value for name, value in TWILIO.items() if name != "TWILIO_AUTH_TOKEN"}
    settings, _ = read(TwilioSettings, environ)
    assert settings is not None
    assert [p.setting for p in settings.problems()] == ["TWILIO_AUTH_TOKEN"]
