"""Kept SMTP connections that died or that the server closed: a new one is made at no cost."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from relaypost_server.core.outcome import Effect, Kind, Outcome
from relaypost_server.providers.smtp import Smtp
from tests import messages
from tests.fakes.smtp import BREAK_OFF, HANG, FakeSmtp, fake_smtp
from tests.providers.configured import build

CLOSING = "421 4.3.2 closing"


@pytest.fixture
async def peer() -> AsyncIterator[FakeSmtp]:
    async with fake_smtp() as fake:
        yield fake


@pytest.fixture
async def smtp(peer: FakeSmtp) -> AsyncIterator[Smtp]:
    settings = {"SMTP_HOST": "127.0.0.1", "RELAYPOST_SMTP_TLS": "none", "SMTP_PORT": str(peer.port)}
    provider: Smtp = build("smtp", settings)
    yield provider
    await provider.close()


async def send(smtp: Smtp, seconds: float = 6.0) -> Outcome:
    return await smtp.send(messages.email(), timeout=seconds)


async def test_a_kept_connection_that_says_nothing_takes_a_second_and_is_replaced(smtp: Smtp, peer: FakeSmtp) -> None:
    assert (await send(smtp)).kind is Kind.ACCEPTED
    peer.replies["RSET"] = HANG
    assert (await send(smtp)).kind is Kind.ACCEPTED
    assert (peer.connections, len(peer.received)) == (2, 2)


async def test_of_many_kept_connections_that_say_nothing_one_is_asked(smtp: Smtp, peer: FakeSmtp) -> None:
    peer.held["."] = together = asyncio.Event()
    sending = [asyncio.create_task(send(smtp)) for _ in range(3)]
    async with asyncio.timeout(5):
        while len(peer.received) < 3:
            await asyncio.sleep(0.01)
    together.set()
    assert {o.kind for o in await asyncio.gather(*sending)} == {Kind.ACCEPTED}
    peer.replies["RSET"] = HANG
    assert (await send(smtp)).kind is Kind.ACCEPTED
    assert peer.commands.count("RSET") == 1
    assert len(peer.received) == 4


@pytest.mark.parametrize("command", ["RSET", "MAIL"])
@pytest.mark.parametrize("reply", [CLOSING, BREAK_OFF])
async def test_a_kept_connection_that_the_server_closed_costs_nothing(
    smtp: Smtp, peer: FakeSmtp, command: str, reply: str
) -> None:
    assert (await send(smtp)).kind is Kind.ACCEPTED
    peer.once[command] = reply
    assert (await send(smtp)).kind is Kind.ACCEPTED
    assert (await send(smtp)).kind is Kind.ACCEPTED
    assert (peer.connections, len(peer.received)) == (2, 3)


@pytest.mark.parametrize("reply", [CLOSING, BREAK_OFF])
async def test_a_new_connection_that_the_server_closes_is_a_failure(smtp: Smtp, peer: FakeSmtp, reply: str) -> None:
    peer.replies["MAIL"] = reply
    outcome = await send(smtp)
    assert (outcome.kind, outcome.effect, outcome.given_up_after) == (Kind.UNREACHABLE, Effect.FAILURE, None)
    assert peer.connections == 1


async def test_a_server_that_closes_a_kept_and_a_new_connection_fails(smtp: Smtp, peer: FakeSmtp) -> None:
    assert (await send(smtp)).kind is Kind.ACCEPTED
    peer.replies["MAIL"] = CLOSING
    assert (await send(smtp)).kind is Kind.UNREACHABLE
    assert (peer.connections, peer.commands.count("MAIL")) == (2, 3)


@pytest.mark.parametrize(
    ("reply", "kind", "effect"),
    [
        ("450 4.2.0 greylisted", Kind.DEFERRED, Effect.NEUTRAL),
        ("450 4.1.1 unknown for now", Kind.DEFERRED, Effect.NEUTRAL),
        ("451 4.7.1 greylisting in action", Kind.DEFERRED, Effect.NEUTRAL),
        ("451 later", Kind.DEFERRED, Effect.NEUTRAL),
        ("452 4.3.1 no space left", Kind.FAULTED, Effect.FAILURE),
        ("451 4.3.0 broken", Kind.FAULTED, Effect.FAILURE),
        ("452 no space left", Kind.FAULTED, Effect.FAILURE),
    ],
)
async def test_a_recipient_that_is_refused_for_now_is_not_the_servers_failure(
    smtp: Smtp, peer: FakeSmtp, reply: str, kind: Kind, effect: Effect
) -> None:
    peer.replies["RCPT"] = reply
    outcome = await send(smtp)
    assert (outcome.kind, outcome.effect) == (kind, effect)


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("250 2.0.0 Ok: queued as 4F1A2B3C", "4F1A2B3C"),
        ("250 OK id=1rBzPq-0004Tn-2M", "1rBzPq-0004Tn-2M"),
        ("250 2.0.0 3AM7xKpQ012345 Message accepted for delivery", "3AM7xKpQ012345"),
        ("250 Ok 0100018c1f2e3d4c-5b6a7988-1234-000000", "0100018c1f2e3d4c-5b6a7988-1234-000000"),
        ("250 2.6.0 <x@y.example> [InternalId=123456789, Hostname=z] Queued mail for delivery", "123456789"),
        ("250 2.0.0 Ok: 482915", ""),
        ("250 ok, hello ada@example.com", ""),
        ("250 queued mail for ada@example.com", ""),
    ],
)
async def test_the_id_of_an_accepted_message_is_the_servers_queue_id(
    smtp: Smtp, peer: FakeSmtp, reply: str, found: str
) -> None:
    peer.replies["."] = reply
    outcome = await send(smtp)
    assert (outcome.kind, outcome.provider_message_id) == (Kind.ACCEPTED, found)
