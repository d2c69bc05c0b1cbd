"""Deliveries from the table to a real server: several gateways, endpoints that misbehave, gateways that die."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.webhook import DeliveryState
from relaypost_server.core.webhook_retry import Answer
from relaypost_server.flow import webhooks as flow
from relaypost_server.flow.webhook_upkeep import WebhookUpkeep
from relaypost_server.flow.webhooks import DeliveryTerms
from relaypost_server.telemetry.metrics import Metrics
from tests.fakes.http import HANG, Reply, answer, fake_http
from tests.flow.webhook_site import CALLER, TERMS, Gateway, Site, counted, ids, site, verified

__all__ = ["site"]


async def test_a_message_is_told_to_its_callers_endpoint(site: Site) -> None:
    async with fake_http(answer(204)) as fake:
        endpoint = await site.register(f"{fake.url}/hook")
        gateway = await site.run()
        [sent] = await site.send()
        [delivery] = await site.until(1)
    [event] = verified(fake, site.secrets[endpoint.id])
    assert (event["type"], event["data"]["message_id"]) == ("message.sent", sent.id)
    assert event["data"]["recipients"] == ["ada@example.com", "b@example.com"]
    assert (delivery.event_id, delivery.attempts, delivery.status) == (ids(fake)[0], 1, 204)
    assert counted(gateway.metrics, "webhook_attempts_total") == {"delivered": 1.0}


async def test_two_gateways_tell_everything_once(site: Site) -> None:
    async with fake_http(answer(200)) as fake:
        endpoint = await site.register(fake.url)
        gateways = [await site.run(name=name) for name in ("a", "b")]
        sent = await site.send(150)
        await site.until(150)
        told = [e["data"]["message_id"] for e in verified(fake, site.secrets[endpoint.id])]
    assert Counter(told) == Counter(m.id for m in sent)
    shares = [counted(g.metrics, "webhook_attempts_total")["delivered"] for g in gateways]
    assert sum(shares) == 150
    assert min(shares) > 0


async def test_an_endpoint_that_recovers_is_told_under_the_same_id(site: Site) -> None:
    async with fake_http(answer(500)) as fake:
        endpoint = await site.register(fake.url)
        fake.reply = lambda _: answer(503 if len(fake.received) < 3 else 200)
        await site.run()
        await site.send()
        [delivery] = await site.until(1)
    assert (delivery.attempts, len(fake.received), len(set(ids(fake)))) == (3, 3, 1)
    assert len({r.body for r in fake.received}) == 1
    assert len(verified(fake, site.secrets[endpoint.id])) == 3


async def test_what_is_given_up_is_a_dead_letter_and_can_be_had_again(site: Site) -> None:
    async with fake_http(answer(500)) as fake:
        await site.register(fake.url)
        gateway = await site.run()
        await site.send()
        [dead] = await site.until(1, DeliveryState.DEAD)
        assert (dead.attempts, dead.status, dead.detail) == (3, 500, "HTTP 500")
        fake.always(answer(200))
        await site.store.redeliver(dead.id, CALLER)
        [delivered] = await site.until(1)
    assert (delivered.id, delivered.attempts) == (dead.id, 1)
    assert len(set(ids(fake))) == 1
    results = counted(gateway.metrics, "webhook_attempts_total")
    assert results == {"retried": 2.0, "dead": 1.0, "delivered": 1.0}


async def test_who_asks_for_time_gets_it(site: Site) -> None:
    async with fake_http(answer(429, Retry_After="600")) as fake:
        await site.register(fake.url)
        await site.run(DeliveryTerms(delays=(0.001,), timeout=10.0, each=1))
        await site.send(3)
        async with asyncio.timeout(20):
            while not (asked := [d for d in await site.listed() if d.status == 429]):
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
    [delivery] = asked
    assert delivery.next_time is not None
    assert delivery.attempt_time is not None
    assert (delivery.next_time - delivery.attempt_time).total_seconds() >= 600
    assert len(fake.received) == 1  # The others wait as well.


async def test_who_is_gone_is_asked_no_more(site: Site) -> None:
    async with fake_http(answer(410)) as fake:
        await site.register(fake.url)
        await site.run(DeliveryTerms(delays=(0.001,), timeout=10.0, each=1))
        await site.send(3)
        await site.until(1, DeliveryState.DEAD)
        await site.send(3)
        await asyncio.sleep(0.2)
        [endpoint] = await site.store.endpoints(CALLER)
    assert endpoint.disable_time is not None
    assert len(fake.received) == 1


async def test_a_slow_endpoint_holds_no_other_up(site: Site) -> None:
    async with fake_http(HANG) as slow, fake_http(answer(200)) as quick:
        await site.register(slow.url)
        other = await site.register(quick.url)
        await site.run()
        await site.send(40)
        await site.until(40)
        assert len(slow.received) == TERMS.each
        assert {d.endpoint_id for d in await site.until(40)} == {other.id}


async def test_an_endpoint_that_hangs_is_given_up_in_time(site: Site) -> None:
    async with fake_http(HANG) as fake:
        await site.register(fake.url)
        await site.run(DeliveryTerms(delays=(), timeout=0.2, each=4))
        await site.send()
        [dead] = await site.until(1, DeliveryState.DEAD)
    assert (dead.status, dead.detail) == (0, "no answer within 0.2 s")


async def test_a_delivery_that_its_gateway_dies_with_is_made_by_another(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle: whether it arrived cannot be known, so it comes again, under the same id."""
    monkeypatch.setattr(flow, "LEASE_MARGIN_SECONDS", 0.0)
    async with fake_http(HANG) as fake:
        await site.register(fake.url)
        dying = await site.run(DeliveryTerms(delays=(1.0,), timeout=0.5, each=4), name="dying")
        await site.send()
        async with asyncio.timeout(10):
            while not fake.received:
                await asyncio.sleep(0.01)
        _kill(dying)
        fake.always(answer(200))
        await site.run(name="heir")
        [delivery] = await site.until(1)
    assert (len(fake.received), len(set(ids(fake))), delivery.attempts) == (2, 1, 2)


def _kill(gateway: Gateway) -> None:
    """Nothing is noted, nothing is given back."""
    [running] = gateway.worker.running
    for task in (running._loop, *gateway.worker._under_way):
        task.cancel()


async def test_a_shutdown_lets_what_is_under_way_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "STOP_SECONDS", 10.0)
    async with fake_http() as fake:
        fake.always(_later())
        await site.register(fake.url)
        gateway = await site.run()
        await site.send()
        async with asyncio.timeout(10):
            while not fake.received:
                await asyncio.sleep(0.01)
        await gateway.worker.stop()
        [delivery] = await site.listed()
    assert delivery.state is DeliveryState.DELIVERED


def _later() -> Reply:
    return replace(answer(200), delay=0.3)


async def test_an_outcome_is_noted_once_the_database_is_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_http(answer(200)) as fake:
        await site.register(fake.url)
        gateway = await site.run()
        settle = gateway.store.settle
        failed: list[Any] = []

        async def away(settlements: Any) -> None:
            if not failed:
                failed.append(settlements)
                raise LogUnavailableError
            await settle(settlements)

        monkeypatch.setattr(gateway.store, "settle", away)
        await site.send()
        await site.until(1)
    assert (len(failed), len(fake.received)) == (1, 1)


async def test_a_bug_in_the_way_out_counts_as_a_failed_attempt(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = await site.run(DeliveryTerms(delays=(), timeout=1.0, each=1))

    async def broken(url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        raise ZeroDivisionError

    monkeypatch.setattr(gateway.sender, "post", broken)
    await site.register("http://127.0.0.1:1/")
    await site.send()
    [dead] = await site.until(1, DeliveryState.DEAD)
    assert dead.detail == "internal error (ZeroDivisionError)"


async def test_no_secret_and_no_address_is_logged(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    async with fake_http(answer(410)) as fake:
        endpoint = await site.register(f"{fake.url}/hook?token=hush")
        await site.run()
        await site.send()
        await site.until(1, DeliveryState.DEAD)
    told = "".join(capsys.readouterr())
    assert "webhook given up" in told
    assert "webhook endpoint disabled" in told
    for secret in (site.secrets[endpoint.id].removeprefix("whsec_"), "hush", "ada@example.com"):
        assert secret not in told


async def test_what_waits_is_shown_in_the_metrics(site: Site) -> None:
    await site.register("http://127.0.0.1:1/")
    await site.send(2)
    metrics = Metrics()
    await WebhookUpkeep(site.store, retention=3600.0, metrics=metrics).round()
    assert counted(metrics, "webhook_pending") == {"": 2.0}
    assert counted(metrics, "webhook_dead") == {"": 0.0}
