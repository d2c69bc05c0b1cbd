"""Signatures and credentials."""

import asyncio
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials, ReadOnlyCredentials
from hypothesis import given, settings, strategies as st

from relaypost_server.core.outcome import Kind
from relaypost_server.providers._aws import Credentials, Keys, Signer
from tests import messages
from tests.fakes.http import Reply, Request, answer, fake_http
from tests.providers.configured import OVER_HTTP, build

HOST, PATH = "email.us-east-1.amazonaws.com", "/v2/email/outbound-emails"


@settings(max_examples=600)
@given(
    body=st.binary(max_size=300),
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
    token=st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=80),
    now=st.integers(0, 4_000_000_000),
)
def test_signatures_are_botocores(body: bytes, secret: str, token: str | None, now: int) -> None:
    ours = Signer(host=HOST, path=PATH, region="us-east-1", service="ses").headers(
        Keys("AKIDEXAMPLE", secret, token), body, "application/json", now
    )
    sent = dict(line.split(": ", maxsplit=1) for line in ours.split("\r\n")[:-1])
    theirs = AWSRequest("POST", f"https://{HOST}{PATH}", {"content-type": "application/json"}, body)
    theirs.context["timestamp"] = sent["x-amz-date"]
    signer = SigV4Auth(BotocoreCredentials("AKIDEXAMPLE", secret, token), "ses", "us-east-1")
    signer._modify_request_before_signing(theirs)
    signature = signer.signature(signer.string_to_sign(theirs, signer.canonical_request(theirs)), theirs)
    assert sent["authorization"].endswith(f"Signature={signature}")


def test_a_new_day_or_a_new_secret_has_a_new_key() -> None:
    signer = Signer(host=HOST, path=PATH, region="us-east-1", service="ses")
    fresh = Signer(host=HOST, path=PATH, region="us-east-1", service="ses")
    signer.headers(Keys("A", "one", None), b"", "x", 0)
    for keys, now in ((Keys("A", "two", None), 0), (Keys("A", "two", None), 86400)):
        assert signer.headers(keys, b"", "x", now) == fresh.headers(keys, b"", "x", now)


class Chain:
    """Stands for what botocore found, an instance role, say."""

    def __init__(self) -> None:
        self.asked = 0

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        self.asked += 1
        return ReadOnlyCredentials(f"key-{self.asked}", "secret", "token")


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Chain:
    found = Chain()

    class Session:
        def get_credentials(self) -> Any:
            return found

    monkeypatch.setattr("boto3.Session", Session)
    return found


async def test_many_requests_at_once_ask_the_chain_once(chain: Chain) -> None:
    credentials = Credentials()
    keys = await asyncio.gather(*(credentials.keys() for _ in range(100)))
    assert set(keys) == {Keys("key-1", "secret", "token")}


async def test_fresh_keys_are_used_without_a_look(chain: Chain) -> None:
    now = 1000.0
    credentials = Credentials(lambda: now)
    for _ in range(10):
        await credentials.keys()
        now += 5.0
    assert chain.asked == 1


async def test_older_keys_are_used_while_newer_ones_are_fetched(chain: Chain) -> None:
    now = 1000.0
    credentials = Credentials(lambda: now)
    await credentials.keys()
    now += 61.0
    assert credentials.ready() == Keys("key-1", "secret", "token")
    async with asyncio.timeout(5):
        while credentials.ready() != Keys("key-2", "secret", "token"):
            await asyncio.sleep(0.01)
    assert chain.asked == 2


async def test_keys_that_may_have_run_out_are_not_used(chain: Chain) -> None:
    now = 1000.0
    credentials = Credentials(lambda: now)
    await credentials.keys()
    now += 541.0
    assert credentials.ready() is None
    assert await credentials.keys() == Keys("key-2", "secret", "token")


async def test_expired_keys_are_renewed_and_the_message_goes_out(chain: Chain) -> None:
    def reply(request: Request) -> Reply:
        if "Credential=key-1/" in request.headers["authorization"]:
            return answer(403, b'{"message":"expired"}', x_amzn_errortype="ExpiredTokenException")
        return answer(200, b'{"MessageId":"id-1"}')

    async with fake_http() as peer:
        peer.reply = reply
        provider = build("ses", OVER_HTTP["ses"](peer.url))
        outcome = await provider.send(messages.email(), timeout=2.0)
        await provider.close()
    assert outcome.kind is Kind.ACCEPTED
    assert len(peer.received) == 2


async def test_keys_that_stay_expired_are_tried_twice_and_no_more(chain: Chain) -> None:
    async with fake_http(answer(403, b"{}", x_amzn_errortype="ExpiredTokenException")) as peer:
        provider = build("ses", OVER_HTTP["ses"](peer.url))
        outcome = await provider.send(messages.email(), timeout=2.0)
        await provider.close()
    assert outcome.kind is Kind.UNAUTHORIZED
    assert len(peer.received) == 2


async def test_no_credentials_are_an_account_fault_and_an_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        def get_credentials(self) -> None:
            return None

    monkeypatch.setattr("boto3.Session", Session)
    async with fake_http() as peer:
        provider = build("sns", OVER_HTTP["sns"](peer.url))
        outcome = await provider.send(messages.sms(), timeout=2.0)
        await provider.close()
    assert (outcome.kind, outcome.alert) == (Kind.UNAUTHORIZED, True)
    assert peer.received == []


async def test_a_chain_that_hangs_is_unreachable_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(self: Credentials, rejected: Keys | None = None) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(Credentials, "renew", never)
    async with fake_http() as peer:
        provider = build("ses", OVER_HTTP["ses"](peer.url))
        outcome = await provider.send(messages.email(), timeout=0.1)
        await provider.close()
    assert outcome.kind is Kind.UNREACHABLE
    assert peer.received == []
