"""Nothing is written that leaves the answer no time: the next provider would send a duplicate."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.providers._attempt_time import AttemptTime
from relaypost_server.providers._connecting import Host
from tests import messages
from tests.fakes.http import FakeHttp, answer, fake_http
from tests.fakes.smtp import FakeSmtp, fake_smtp
from tests.providers.configured import OVER_HTTP, build, message_for, warmed_up

TIMEOUT = 2.0
LATE = 1.9
"""Seconds of an attempt of `TIMEOUT` after which a request would have 0.1 s for its answer."""
OK = answer(200, b'{"MessageId":"id-1","sid":"id-1"}')
XML_OK = answer(200, b"<R><MessageId>id-1</MessageId></R>")


@pytest.fixture
def slow_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network takes its time, for every provider alike."""
    connect = Host.connect

    async def connect_late(self: Host) -> Any:
        await asyncio.sleep(LATE)
        return await connect(self)

    monkeypatch.setattr(Host, "connect", connect_late)


@pytest.fixture
def slow_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        def get_credentials(self) -> None:
            time.sleep(LATE)

    monkeypatch.setattr("boto3.Session", Session)


async def over_http(name: str) -> tuple[Outcome, int]:
    """The outcome, and how many requests arrived."""
    async with fake_http(XML_OK if name == "sns" else OK) as peer:
        patient = {f"RELAYPOST_{name.upper()}_CONNECT_TIMEOUT_SECONDS": "10"}
        provider = build(name, {**OVER_HTTP[name](peer.url), **patient})
        outcome = await provider.send(message_for(provider), timeout=TIMEOUT)
        await provider.close()
        await _all_read(peer)
        return outcome, len(peer.received)


async def _all_read(peer: FakeHttp | FakeSmtp) -> None:
    """Waits until the peer has read everything on closed connections."""
    async with asyncio.timeout(10):
        while peer.ended < peer.connections:
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("aws_keys", "slow_to_connect")
async def test_a_late_connection_is_not_written_to() -> None:
    found = await asyncio.gather(*(over_http(name) for name in OVER_HTTP))
    assert [received for _, received in found] == [0] * len(OVER_HTTP)
    assert {outcome.kind for outcome, _ in found} == {Kind.UNREACHABLE}
    assert all(outcome.given_up_after is not None for outcome, _ in found)


@pytest.mark.usefixtures("slow_credentials")
async def test_nothing_is_written_after_late_credentials() -> None:
    for outcome, received in await asyncio.gather(over_http("ses"), over_http("sns")):
        assert received == 0
        assert (outcome.kind, outcome.detail) == (Kind.UNREACHABLE, "AWS credentials did not arrive in time")


async def test_a_chain_of_credentials_that_hangs_holds_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Session:
        def get_credentials(self) -> None:
            asked.append(1)
            time.sleep(3.0)

    monkeypatch.setattr("boto3.Session", Session)
    async with fake_http(OK) as peer:
        provider = build("ses", OVER_HTTP["ses"](peer.url))
        outcomes = [await provider.send(messages.email(), timeout=0.2) for _ in range(5)]
        await provider.close()
    assert {o.kind for o in outcomes} == {Kind.UNREACHABLE}
    assert len(asked) == 1


@pytest.mark.usefixtures("aws_keys")
async def test_what_the_gateway_took_for_itself_is_not_the_providers_time() -> None:
    """A caller who waited for a connection learns less about the provider than its whole time-out would tell."""
    async with fake_http(replace(OK, delay=3.0)) as peer:
        provider = await warmed_up(
            build(
                "ses",
                {
                    **OVER_HTTP["ses"](peer.url),
                    "RELAYPOST_SES_POOL_SIZE": "1",
                    "RELAYPOST_SES_CONNECT_TIMEOUT_SECONDS": "10",
                },
            )
        )
        holder = asyncio.create_task(provider.send(messages.email(), timeout=10.0))
        async with asyncio.timeout(5):
            while not peer.received:
                await asyncio.sleep(0.01)
        outcome = await provider.send(messages.email(), timeout=5.0)
        assert (await holder).kind is Kind.ACCEPTED
        await provider.close()
    assert outcome.kind is Kind.UNCONFIRMED
    assert outcome.given_up_after is not None
    assert outcome.given_up_after < 3.5


SMTP = {
    "SMTP_HOST": "127.0.0.1",
    "RELAYPOST_SMTP_TLS": "none",
    "RELAYPOST_SMTP_CONNECT_TIMEOUT_SECONDS": "10",
}


async def with_a_late_reply(command: str) -> tuple[Outcome, int]:
    """The outcome where SMTP's reply to this command comes late, and how many messages arrived."""
    async with fake_smtp() as peer:
        peer.held[command] = release = asyncio.Event()
        provider = build("smtp", SMTP | {"SMTP_PORT": str(peer.port)})
        asyncio.get_running_loop().call_later(LATE, release.set)
        outcome = await provider.send(messages.email(), timeout=TIMEOUT)
        await provider.close()
        await _all_read(peer)
        return outcome, len(peer.received)


async def test_no_message_is_written_after_a_late_reply() -> None:
    commands = ("greeting", "EHLO", "MAIL", "RCPT", "DATA")
    for outcome, received in await asyncio.gather(*map(with_a_late_reply, commands)):
        assert received == 0
        assert (outcome.kind, outcome.detail) == (Kind.UNREACHABLE, "too little time left to send")


@pytest.mark.parametrize(("timeout", "kept"), [(10.0, 0.5), (1.0, 0.5), (0.4, 0.2)])
async def test_the_answer_keeps_half_a_second_or_half_of_the_attempt(timeout: float, kept: float) -> None:
    attempt = AttemptTime(timeout)
    assert attempt.left_to_write == pytest.approx(timeout - kept, abs=0.1)
    assert attempt.left_for_answer() == pytest.approx(timeout, abs=0.1)
    await asyncio.sleep(attempt.left_to_write + 0.01 if timeout < 1.0 else 0.0)
    assert (attempt.left_for_answer() is None) == (timeout < 1.0)
