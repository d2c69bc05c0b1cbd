"""Senders and ways out through the real process: names of texts that providers refuse, a proxy, and XOAUTH2."""

import base64
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from relaypost import AsyncClient
from relaypost.v1 import message_pb2

from tests.e2e.gateway import AWS_KEYS, gateway
from tests.fakes.connect_proxy import connect_proxy
from tests.fakes.http import FakeHttp, Reply, Request, answer, fake_http
from tests.fakes.smtp import Dialogue, FakeSmtp, fake_smtp_over_tls
from tests.providers.configured import TWILIO

USER = "gateway@example.com"
TOKEN = "token-of-the-endpoint"
PASSWORD = "the-proxys-password"
SECRET = "the-applications-secret"
NUMBER = "+14155550100"
TAKEN = answer(201, b'{"sid":"SM1"}', Content_Type="application/json")
REFUSED = answer(400, json.dumps({"code": 21657, "message": "no"}).encode(), Content_Type="application/json")
PUBLISHED = answer(
    200, b"<PublishResponse><PublishResult><MessageId>id-1</MessageId></PublishResult></PublishResponse>"
)


def only_from_the_number(request: Request) -> Reply:
    return TAKEN if parse_qs(request.body.decode())["From"] == [NUMBER] else REFUSED


def last(fake: FakeHttp) -> dict[str, list[str]]:
    return parse_qs(fake.received[-1].body.decode())


@pytest.fixture
async def mail(self_signed: tuple[Path, Path]) -> AsyncIterator[FakeSmtp]:
    """A server that lets in who has the token, over TLS alone."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*self_signed)
    given = base64.b64encode(f"user={USER}\1auth=Bearer {TOKEN}\1\1".encode()).decode()

    def decide(dialogue: Dialogue) -> str | None:
        if not dialogue.line.startswith("AUTH"):
            return None
        return "235 2.7.0 Accepted" if dialogue.line == f"AUTH XOAUTH2 {given}" else "535 5.7.3 no"

    async with fake_smtp_over_tls(context, EHLO="250-fake\r\n250 AUTH XOAUTH2") as fake:
        fake.decide = decide
        yield fake


def by_xoauth2(mail: FakeSmtp, endpoint: FakeHttp, ca_file: Path) -> dict[str, str]:
    return {
        "SMTP_HOST": "localhost",
        "SMTP_PORT": str(mail.port),
        "SMTP_USER": USER,
        "RELAYPOST_SMTP_TLS": "implicit",
        "RELAYPOST_SMTP_CA_FILE": str(ca_file),
        "RELAYPOST_SMTP_OAUTH_TOKEN_URL": f"{endpoint.url}/token",
        "RELAYPOST_SMTP_OAUTH_CLIENT_ID": "the-id",
        "RELAYPOST_SMTP_OAUTH_CLIENT_SECRET": SECRET,
        "RELAYPOST_SMTP_OAUTH_SCOPE": "https://outlook.office365.com/.default",
    }


async def test_a_name_that_a_provider_refuses_costs_no_text_and_emails_are_sent_by_xoauth2(
    bundled_database: str, self_signed: tuple[Path, Path], mail: FakeSmtp
) -> None:
    """In one gateway, for a start takes seconds. Twilio is reached through a proxy, as it is in many companies."""
    issued = answer(200, json.dumps({"access_token": TOKEN, "expires_in": 3600}).encode())
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*self_signed)
    async with (
        fake_http(PUBLISHED) as sns,
        fake_http(tls=tls) as twilio,
        connect_proxy(twilio.port) as proxy,
        fake_http(issued) as endpoint,
    ):
        twilio.reply = only_from_the_number
        environ = {
            **AWS_KEYS,
            **TWILIO,
            **by_xoauth2(mail, endpoint, self_signed[0]),
            "RELAYPOST_SES_ENABLED": "false",
            "RELAYPOST_SNS_ENDPOINT": sns.url,
            "RELAYPOST_SNS_ORIGINATION_NUMBER": NUMBER,
            "RELAYPOST_SNS_SENDERS": '{"IN": "ACMEIN"}',
            # No resolver knows it: only the proxy can reach it.
            "RELAYPOST_TWILIO_ENDPOINT": "https://provider.invalid:8443",
            "HTTPS_PROXY": f"http://ada:{PASSWORD}@127.0.0.1:{proxy.port}",
            "SSL_CERT_FILE": str(self_signed[0]),
        }
        async with gateway(environ, database=bundled_database) as running, AsyncClient(running.grpc) as client:
            await texts_arrive(client, sns, twilio)
            await emails_arrive(client, mail, endpoint)
            assert not any(secret in line for line in running.raw for secret in (TOKEN, SECRET, PASSWORD))
        assert set(proxy.asked) == {"provider.invalid:8443"}
        assert set(proxy.authorizations) == {f"Basic {base64.b64encode(f'ada:{PASSWORD}'.encode()).decode()}"}
        assert b"4915112345678" not in b"".join(proxy.carried)


async def emails_arrive(client: AsyncClient, mail: FakeSmtp, endpoint: FakeHttp) -> None:
    for number in (1, 2):
        sent = await client.send_email(to="ada@example.com", subject="Hi", text="Hi")
        assert [(a.provider, a.kind) for a in sent.attempts] == [("smtp", message_pb2.OUTCOME_KIND_ACCEPTED)]
        assert len(mail.received) == number
    assert (len(endpoint.received), mail.commands.count("AUTH")) == (1, 1), "the token and the connection are kept"


async def texts_arrive(client: AsyncClient, sns: FakeHttp, twilio: FakeHttp) -> None:
    # SNS takes no space in a name; Twilio refuses this one for the country, and takes its number.
    sent = await client.send_sms(to="+4915112345678", text="Hi", sender_id="My Shop")
    assert [a.provider for a in sent.attempts] == ["sns", "twilio"]
    assert sent.attempts[0].kind == message_pb2.OUTCOME_KIND_UNSUPPORTED
    assert (sns.received, len(twilio.received)) == ([], 2)
    assert [(a.field, a.kind) for a in sent.adjustments] == [("sms.sender_id", message_pb2.ADJUSTMENT_KIND_REPLACED)]
    await client.send_sms(to="+4915112345678", text="Hi", sender_id="My Shop")
    assert len(twilio.received) == 3
    # A name and a number of the account: SNS gets the name alone.
    await client.send_sms(to="+4915112345678", text="Hi", sender_id="Acme")
    values = {value for values in last(sns).values() for value in values}
    assert "AWS.SNS.SMS.SenderID" in values
    assert "AWS.MM.SMS.OriginationNumber" not in values
    india = await client.send_sms(to="+919876543210", text="Hi", sender_id="Acme")
    assert ["ACMEIN"] in last(sns).values()
    assert [a.field for a in india.adjustments] == ["sms.sender_id"]
