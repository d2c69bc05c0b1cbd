"""Places in our own pools: to wait for one in vain is nobody's failure, and nobody overtakes."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.failover import SkipReason
from relaypost_server.core.message import Guarantee
from relaypost_server.core.outcome import Kind, Outcome
from tests import messages
from tests.fakes.http import FakeHttp, Reply, Request, answer, fake_http
from tests.fakes.providers import FakeProvider, Rig
from tests.fakes.smtp import FakeSmtp, fake_smtp
from tests.providers.configured import OVER_HTTP, build, message_for, warmed_up

pytestmark = pytest.mark.usefixtures("aws_keys")

OK = answer(200, b'{"MessageId":"id-1","sid":"id-1"}')
SMTP = {"SMTP_HOST": "127.0.0.1", "RELAYPOST_SMTP_TLS": "none"}


@asynccontextmanager
async def over_http(pool: int, reply: Reply = OK, **more: str) -> AsyncIterator[tuple[Any, FakeHttp]]:
    async with fake_http(reply) as peer:
        settings = {**OVER_HTTP["ses"](peer.url), "RELAYPOST_SES_POOL_SIZE": str(pool), **more}
        provider = await warmed_up(build("ses", settings))
        yield provider, peer
        await provider.close()


@asynccontextmanager
async def over_smtp(pool: int, **more: str) -> AsyncIterator[tuple[Any, FakeSmtp]]:
    async with fake_smtp() as peer:
        settings = {**SMTP, "SMTP_PORT": str(peer.port), "RELAYPOST_SMTP_POOL_SIZE": str(pool), **more}
        provider = build("smtp", settings)
        yield provider, peer
        await provider.close()


async def received(peer: FakeHttp | FakeSmtp, count: int) -> None:
    async with asyncio.timeout(10):
        while len(peer.received) < count:
            await asyncio.sleep(0.01)


async def test_waiting_in_vain_for_a_connection_is_a_skip_and_no_failure() -> None:
    """A pool of 2, a provider that takes 4 s, 6 calls: four find no place within the 3 s of connecting."""
    async with over_http(2, replace(OK, delay=4.0)) as (ses, peer):
        rig = Rig([ses, FakeProvider("b")])
        message = messages.email(Guarantee.AT_MOST_ONCE)
        walks = await asyncio.gather(
            *(rig.dispatcher.deliver(message, caller=rig.caller(19.8)) for _ in range(6)),
        )
        first = [w.attempts[0] for w in walks]
        skipped = [a for a in first if a.kind is Kind.SKIPPED]
        assert [a.kind for a in first if a.kind is not Kind.SKIPPED] == [Kind.ACCEPTED] * 2
        assert {(a.skipped, a.outcome.detail) for a in skipped} == {
            (SkipReason.NO_ROOM, "no free connection within 3.0 s")
        }
        assert [w.attempts[-1].provider for w in walks].count("b") == len(skipped) == 4
        assert len(peer.received) == 2
        health = rig.chain.health().providers[0]
        assert (health.circuit_state, health.recent_failures, health.last_failure) == (CircuitState.CLOSED, 0, None)


async def test_waiting_in_vain_for_an_smtp_connection_is_a_skip() -> None:
    async with over_smtp(1, RELAYPOST_SMTP_CONNECT_TIMEOUT_SECONDS="1") as (smtp, peer):
        peer.replies["."] = "hang"
        holder = asyncio.create_task(smtp.send(messages.email(), timeout=8.0))
        await received(peer, 1)
        outcome = await smtp.send(messages.email(), timeout=8.0)
        holder.cancel()
        await asyncio.gather(holder, return_exceptions=True)
    assert (outcome.kind, outcome.detail) == (Kind.SKIPPED, "no free connection within 1.0 s")


async def order_of(provider: Any, peer: Any, release: asyncio.Event | None = None) -> list[str]:
    """Who is served when: one caller holds the only connection, "early" waits for it, "late" comes as it is freed.

    `release`: lets the peer answer.
    """
    order: list[str] = []

    async def send(*names: str) -> list[Outcome]:
        """One message after the other, with nothing in between."""
        outcomes: list[Outcome] = []
        for name in names:
            outcomes.append(await provider.send(message_for(provider), timeout=10.0))
            order.append(name)
        return outcomes

    holder = asyncio.create_task(send("holder", "late"))
    await received(peer, 1)
    early = asyncio.create_task(send("early"))
    await asyncio.sleep(0)
    if release:
        release.set()
    outcomes = [*await holder, *await early]
    assert {o.kind for o in outcomes} == {Kind.ACCEPTED}
    return order


async def test_a_newcomer_does_not_overtake_those_who_wait_for_a_connection() -> None:
    async with over_http(1) as (ses, peer):

        def reply(request: Request) -> Reply:
            return OK if len(peer.received) > 1 else replace(OK, delay=1.5)

        peer.reply = reply
        assert await order_of(ses, peer) == ["holder", "early", "late"]


async def test_a_newcomer_does_not_overtake_those_who_wait_for_an_smtp_connection() -> None:
    async with over_smtp(1) as (smtp, peer):
        peer.held["."] = release = asyncio.Event()
        assert await order_of(smtp, peer, release) == ["holder", "early", "late"]


async def test_a_caller_who_stops_waiting_leaves_no_place_taken() -> None:
    async with over_http(1, replace(OK, delay=1.5)) as (ses, peer):
        holder = asyncio.create_task(ses.send(messages.email(), timeout=10.0))
        await received(peer, 1)
        waiting = [asyncio.create_task(ses.send(messages.email(), timeout=10.0)) for _ in range(3)]
        await asyncio.sleep(0)
        for task in waiting[:2]:
            task.cancel()
        outcomes = [await holder, await waiting[2], await ses.send(messages.email(), timeout=10.0)]
    assert {o.kind for o in outcomes} == {Kind.ACCEPTED}
    assert peer.connections == 1


async def test_a_place_that_is_handed_over_to_a_caller_who_goes_away_is_handed_on() -> None:
    from relaypost_server.providers._places import Places

    places = Places(1)
    assert places.take()
    gone, next_one = (asyncio.create_task(places.wait(10.0)) for _ in range(2))
    await asyncio.sleep(0)
    places.give_back()
    gone.cancel()
    assert await next_one
    assert not places.take()
    places.give_back()
    assert places.take()


async def test_no_thread_for_a_large_body_is_a_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    from relaypost_server.providers import _threads

    release, busy = Event(), ThreadPoolExecutor(1)
    monkeypatch.setattr(_threads, "_encoders", busy)
    busy.submit(release.wait)
    large = messages.full_email()
    attachment = replace(large.content.attachments[0], content=b"x" * 300_000)
    message = replace(large, content=replace(large.content, attachments=(attachment,)))
    async with over_http(1) as (ses, peer):
        outcome = await ses.send(message, timeout=1.0)
        release.set()
        assert (outcome.kind, outcome.detail) == (Kind.SKIPPED, "no thread encoded the message within 0.5 s")
        assert peer.received == []
        assert (await ses.send(message, timeout=10.0)).kind is Kind.ACCEPTED
    busy.shutdown()
