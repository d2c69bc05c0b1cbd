"""What becomes of deliveries and of their endpoints, on a real PostgreSQL."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.webhook import Delivery, DeliveryQuery, DeliveryState
from relaypost_server.core.webhook_retry import settle
from relaypost_server.store.webhooks import PostgresWebhooks
from tests.databases import over_tcp
from tests.fakes.http import closed_port
from tests.store.databases import opened
from tests.store.webhooks import CALLER, DELAYS, FAILED, GONE, OK, SECRET, Store, connection, store

__all__ = ["connection", "store"]


async def test_a_delivery_is_given_to_one_gateway_until_its_lease_ends(store: Store) -> None:
    await store.register()
    for _ in range(30):
        await store.send()
    claims = await asyncio.gather(*(store.claim(each=50) for _ in range(6)))
    ids = [c.id for claim in claims for c in claim]
    assert (len(ids), len(set(ids))) == (30, 30)
    assert await store.claim() == []


async def test_an_abandoned_delivery_is_given_to_another_with_the_same_event(store: Store) -> None:
    await store.register()
    await store.send()
    [first] = await store.claim(lease=0.0)
    [second] = await store.claim()
    assert (second.id, second.event, second.attempt) == (first.id, first.event, 2)
    await store.settle(first, OK)  # Too late: it is somebody else's now.
    [listed] = await store.listed()
    assert listed.state is DeliveryState.PENDING
    await store.settle(second, FAILED)
    [listed] = await store.listed()
    assert (listed.state, listed.attempts, listed.status, listed.detail) == (DeliveryState.PENDING, 2, 500, "HTTP 500")


async def test_of_one_endpoint_no_more_are_given_than_it_may_have(store: Store) -> None:
    slow, other = await store.register(), await store.register()
    for _ in range(5):
        await store.send()
    claimed = await store.webhooks.claim(busy={slow.id: 3}, each=4, most=100, lease=60.0)
    assert sorted(c.endpoint_id for c in claimed) == sorted([slow.id, *[other.id] * 4])
    assert len(await store.webhooks.claim(busy={slow.id: 4, other.id: 9}, each=4, most=100, lease=60.0)) == 0
    assert len(await store.claim(most=3)) == 3


async def test_a_delivery_dies_after_its_last_try_and_can_be_had_again(store: Store) -> None:
    await store.register()
    sent = await store.send()
    for attempt in range(len(DELAYS) + 1):
        [claimed] = await store.claim(lease=0.0)
        await store.settle(claimed, replace(FAILED, retry_after=0.0) if attempt < len(DELAYS) else FAILED)
        await _make_due(store)
    [dead] = await store.listed(state=DeliveryState.DEAD)
    assert (dead.attempts, dead.message_id, dead.next_time) == (3, sent.id, None)
    assert await store.claim() == []
    again = await store.webhooks.redeliver(dead.id, CALLER)
    assert again is not None
    assert (again.state, again.attempts, again.event_id) == (DeliveryState.PENDING, 0, dead.event_id)
    [claimed] = await store.claim()
    assert (claimed.attempt, claimed.event.id) == (1, dead.event_id)
    await store.settle(claimed, OK)
    [delivered] = await store.listed()
    assert (delivered.state, delivered.status, delivered.detail) == (DeliveryState.DELIVERED, 204, "")


async def _make_due(store: Store) -> None:
    for delivery in await store.listed(state=DeliveryState.PENDING):
        await store.webhooks.redeliver(delivery.id, CALLER)


async def test_a_delivery_waits_for_its_next_try(store: Store) -> None:
    await store.register()
    await store.send()
    [claimed] = await store.claim()
    await store.settle(claimed, replace(FAILED, retry_after=600.0))
    assert await store.claim() == []
    [waiting] = await store.listed(state=DeliveryState.PENDING)
    assert waiting.next_time is not None
    assert waiting.attempt_time is not None
    assert waiting.next_time - waiting.attempt_time >= timedelta(seconds=600)


async def test_an_endpoint_that_fails_is_left_alone_for_a_while(store: Store) -> None:
    await store.register()
    await store.send()
    await store.send()
    first, second = await store.claim()
    await store.webhooks.settle([settle(first, FAILED, (0.001,), 0.0), settle(second, FAILED, (0.001,), 0.0)])
    [endpoint] = await store.webhooks.endpoints(CALLER)
    assert endpoint.failures == 2
    assert await store.claim() == []
    await store.webhooks.enable(endpoint.id, CALLER)
    first, second = await store.claim()
    await store.webhooks.settle([settle(first, FAILED, (), 0.0), settle(second, OK, (), 0.0)])
    [endpoint] = await store.webhooks.endpoints(CALLER)
    assert endpoint.failures == 0


async def test_an_endpoint_that_is_gone_is_told_nothing_until_it_is_back(store: Store) -> None:
    await store.register()
    await store.send()
    await store.send()
    first, second = await store.claim()
    await store.settle(first, GONE)
    await store.settle(second, FAILED)
    await _make_due(store)
    [endpoint] = await store.webhooks.endpoints(CALLER)
    assert endpoint.disable_time is not None
    assert await store.claim() == []
    await store.send()
    assert sorted(d.state for d in await store.listed()) == [DeliveryState.DEAD, DeliveryState.PENDING]
    enabled = await store.webhooks.enable(endpoint.id, CALLER)
    assert enabled is not None
    assert enabled.disable_time is None
    assert [c.id for c in await store.claim()] == [second.id]


async def test_old_secrets_sign_for_a_while(store: Store, connection: "asyncpg.Connection") -> None:
    endpoint = await store.register()
    secrets = [bytes([n]) * 32 for n in range(7)]
    end = await store.webhooks.rotate(endpoint.id, CALLER, secrets[0], grace=3600.0)
    assert end is not None
    assert timedelta(minutes=59) < end - datetime.now(UTC) <= timedelta(hours=1)
    assert await _signing(store) == (secrets[0], SECRET)
    await store.webhooks.rotate(endpoint.id, CALLER, secrets[1], grace=0.0)
    assert await _signing(store) == (secrets[1],)
    for secret in secrets[2:]:
        await store.webhooks.rotate(endpoint.id, CALLER, secret, grace=3600.0)
    assert await _signing(store) == tuple(reversed(secrets[2:]))
    await connection.execute("UPDATE relaypost.webhook_secrets SET expire_time = now() WHERE expire_time IS NOT NULL")
    await store.webhooks.sweep(retention=3600.0)
    assert await _signing(store) == (secrets[-1],)


async def _signing(store: Store) -> tuple[bytes, ...]:
    await store.send()
    [claimed] = await store.claim()
    await store.settle(claimed, OK)
    return claimed.secrets


async def test_nobody_touches_what_belongs_to_another_caller(store: Store) -> None:
    endpoint = await store.register()
    await store.send()
    [delivery] = await store.listed()
    webhooks = store.webhooks
    assert await webhooks.endpoints("billing") == []
    assert await webhooks.deliveries(DeliveryQuery(caller="billing")) == []
    assert not await webhooks.delete(endpoint.id, "billing")
    assert await webhooks.enable(endpoint.id, "billing") is None
    assert await webhooks.rotate(endpoint.id, "billing", b"", grace=0.0) is None
    assert await webhooks.redeliver(delivery.id, "billing") is None


async def test_a_deleted_endpoint_takes_everything_with_it(store: Store, connection: "asyncpg.Connection") -> None:
    endpoint = await store.register()
    await store.send()
    [claimed] = await store.claim()
    assert await store.webhooks.delete(endpoint.id, CALLER)
    await store.settle(claimed, FAILED)
    assert await store.listed() == []
    for table in ("webhook_endpoints", "webhook_secrets", "webhook_deliveries"):
        assert await connection.fetchval(f"SELECT count(*) FROM relaypost.{table}") == 0


async def test_a_caller_has_only_so_many_endpoints(store: Store) -> None:
    one = await store.register()
    assert await store.webhooks.create(replace(one, id=str(uuid4())), SECRET, most=1) is None
    assert len(await store.webhooks.endpoints(CALLER)) == 1


async def test_deliveries_are_listed_newest_first_by_page(store: Store) -> None:
    endpoints = [await store.register(), await store.register()]
    for _ in range(10):
        await store.send()
    seen: list[Delivery] = []
    before = None
    while page := await store.listed(page_size=7, before=before):
        seen += page
        before = page[-1].create_time, page[-1].id
    assert len({d.id for d in seen}) == len(seen) == 20
    assert [d.create_time for d in seen] == sorted((d.create_time for d in seen), reverse=True)
    assert len(await store.listed(endpoint_id=endpoints[0].id)) == 10


async def test_what_waits_is_counted_and_what_is_old_is_forgotten(
    store: Store, connection: "asyncpg.Connection"
) -> None:
    await store.register()
    for _ in range(3):
        await store.send()
    delivered, dead, _ = await store.claim()
    await store.settle(delivered, OK)
    await store.webhooks.settle([settle(dead, FAILED, (), 0.0)])
    await connection.execute("UPDATE relaypost.webhook_deliveries SET create_time = now() - '100s'::interval")
    backlog = await store.webhooks.backlog()
    assert (backlog.pending, backlog.dead) == (1, 1)
    assert 100 <= backlog.oldest < 200
    await store.webhooks.sweep(retention=3600.0)
    assert len(await store.listed()) == 3
    await connection.execute("UPDATE relaypost.webhook_events SET create_time = now() - '2h'::interval")
    await store.webhooks.sweep(retention=3600.0)
    assert await store.listed() == []
    assert await connection.fetchval("SELECT count(*) FROM relaypost.webhook_events") == 0


async def test_while_the_database_is_away_nothing_is_claimed(bundled_database: str, tmp_path: Path) -> None:
    async with opened(over_tcp(bundled_database, closed_port()), tmp_path) as database:
        with pytest.raises(LogUnavailableError):
            await PostgresWebhooks(database).claim(busy={}, each=4, most=10, lease=1.0)
