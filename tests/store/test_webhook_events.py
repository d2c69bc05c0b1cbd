"""Which events there are, and who gets them, on a real PostgreSQL."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import asyncpg
import pytest

from relaypost_server.core.delivery import EventType, RejectReason
from relaypost_server.core.idempotency import Claim, RequestKey
from relaypost_server.core.message import MessageState
from tests.receipts import event
from tests.store.records import record
from tests.store.webhooks import CALLER, SECRET, Store, connection, store

__all__ = ["connection", "store"]


async def test_a_message_is_told_of_as_it_was(store: Store) -> None:
    endpoint = await store.register()
    sent = await store.send(tags={"purpose": "signup"}, metadata={"order": "7"})
    [claimed] = await store.claim()
    assert (claimed.endpoint_id, claimed.url, claimed.secrets) == (endpoint.id, endpoint.url, (SECRET,))
    assert (claimed.event.type, claimed.event.time, claimed.attempt) == ("message.sent", sent.update_time, 1)
    assert claimed.event.data == {
        "message_id": sent.id,
        "channel": "email",
        "state": "sent",
        "sender": "noreply@example.com",
        "recipients": ["ada@example.com", "b@example.com"],
        "provider": "smtp",
        "provider_message_id": "id-1",
        "possible_duplicate": True,
        "create_time": f"{sent.create_time:%Y-%m-%dT%H:%M:%S.%fZ}",
        "tags": {"purpose": "signup"},
        "metadata": {"order": "7"},
        "receipt": None,
    }


async def test_each_change_of_a_state_is_told_once(store: Store) -> None:
    await store.register()
    sent = await store.send()
    await store.log.append(sent)
    for kind in (EventType.SENT, EventType.DEFERRED, EventType.DELIVERED, EventType.OPENED, EventType.COMPLAINED):
        await store.receipts.record([event(kind, message_id=sent.id), event(kind, message_id=sent.id)])
    assert await store.told() == ["message.sent", "message.deferred", "message.delivered", "message.complained"]


async def test_a_receipt_says_why(store: Store) -> None:
    await store.register(event_types=("message.bounced",))
    sent = await store.send()
    bounced = event(
        EventType.BOUNCED,
        message_id=sent.id,
        reject_reason=RejectReason.INVALID,
        provider_code="550",
        detail="no such mailbox",
        recipients=("stranger@example.com", "b@example.com"),
    )
    await store.receipts.record([bounced])
    [claimed] = await store.claim()
    assert claimed.event.data["receipt"] == {
        "time": "2026-07-01T12:00:00.000000Z",
        "reject_reason": "invalid",
        "permanent": True,
        "provider_code": "550",
        "detail": "no such mailbox",
        "recipients": ["b@example.com"],
    }


@pytest.mark.parametrize("kind", [EventType.OPENED, EventType.CLICKED])
async def test_an_engagement_is_sent_to_endpoints_that_name_it(store: Store, kind: EventType) -> None:
    named = await store.register(event_types=("message.delivered", f"message.{kind}"))
    await store.register()
    await store.register(event_types=("message.sent",))
    await store.register(event_types=(f"message.{kind}",), caller="billing")
    sent = await store.send()
    await store.receipts.record([event(EventType.DELIVERED, message_id=sent.id)])
    seen = event(kind, message_id=sent.id, after=9, recipients=("b@example.com",))
    for _ in range(3):
        await store.receipts.record([seen, seen])
    found = [c for c in await store.claim() if c.event.type == f"message.{kind}"]
    [claimed] = found
    assert (claimed.endpoint_id, claimed.event.time) == (named.id, seen.time)
    assert (claimed.event.data["message_id"], claimed.event.data["state"]) == (sent.id, "delivered")
    assert claimed.event.data["receipt"]["recipients"] == ["b@example.com"]


async def test_each_of_many_openings_is_sent_once_and_changes_no_state(store: Store) -> None:
    await store.register(event_types=("message.opened",))
    sent = await store.send()
    openings = [event(EventType.OPENED, message_id=sent.id, after=n) for n in range(20)]
    await asyncio.gather(*(store.receipts.record(openings) for _ in range(5)))
    assert await store.told() == ["message.opened"] * 20
    found = await store.log.get(sent.id)
    assert found is not None
    assert (found.state, found.update_time) == (sent.state, sent.update_time)


async def test_an_opening_that_is_early_is_sent_when_its_message_is_on_record(store: Store) -> None:
    await store.register(event_types=("message.opened",))
    late = record(caller=CALLER, state=MessageState.SENT)
    await store.receipts.record([event(EventType.OPENED, message_id=late.id)])
    assert await store.told() == []
    await store.log.append(late)
    while await store.receipts.match():
        pass
    assert await store.told() == ["message.opened"]


async def test_an_endpoint_that_is_gone_gets_no_openings(store: Store, connection: "asyncpg.Connection") -> None:
    await store.register(event_types=("message.opened",))
    await connection.execute("UPDATE relaypost.webhook_endpoints SET disable_time = now()")
    sent = await store.send()
    await store.receipts.record([event(EventType.OPENED, message_id=sent.id)])
    assert await store.told() == []
    assert await connection.fetchval("SELECT count(*) FROM relaypost.webhook_events") == 0


async def test_a_request_is_told_of_at_its_end(store: Store) -> None:
    await store.register()
    made = record(caller=CALLER, state=MessageState.FAILED)
    key = RequestKey(caller=CALLER, method="SendEmail", request_id="r-1")
    begun = replace(made, state=MessageState.SENDING, attempts=())
    await store.requests.begin(Claim(key=key, fingerprint="f", record=begun, first_provider="ses"))
    assert await store.told() == []
    assert await store.requests.finish(made, fence=1, kept=False)
    assert await store.told() == ["message.failed"]


async def test_an_operator_who_resolves_a_message_is_told_of(store: Store) -> None:
    await store.register()
    sent = await store.send(state=MessageState.UNCONFIRMED)
    await store.log.resolve(sent.id, sent=True)
    assert await store.told() == ["message.unconfirmed", "message.sent"]


async def test_whoever_changes_a_state_it_is_told(store: Store, connection: "asyncpg.Connection") -> None:
    """The statements of other parts need not know of webhooks, and cannot forget them."""
    await store.register()
    sent = await store.send()
    await connection.execute("UPDATE relaypost.messages SET update_time = now(), provider = 'other'")
    await connection.execute("UPDATE relaypost.messages SET state = 'failed' WHERE id = $1", sent.id)
    assert await store.told() == ["message.sent", "message.failed"]


async def test_who_may_write_messages_needs_no_right_to_what_is_written_for_webhooks(
    store: Store, connection: "asyncpg.Connection"
) -> None:
    await store.register()
    sent = await store.send()
    role = f"writer_{uuid4().hex}"
    await connection.execute(f"""
        CREATE ROLE {role};
        GRANT USAGE ON SCHEMA relaypost TO {role};
        GRANT SELECT, UPDATE ON relaypost.messages TO {role};
        SET ROLE {role};
    """)
    await connection.execute("UPDATE relaypost.messages SET state = 'failed' WHERE id = $1", sent.id)
    await connection.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")
    assert await store.told() == ["message.sent", "message.failed"]


async def test_only_the_callers_own_endpoints_that_want_it_are_told(store: Store) -> None:
    wanted = await store.register(event_types=("message.failed", "message.sent"))
    everything = await store.register()
    await store.register(event_types=("message.delivered",))
    await store.register(caller="billing")
    await store.register(caller="")
    await store.send()
    claimed = await store.claim()
    assert {c.endpoint_id for c in claimed} == {wanted.id, everything.id}
    assert len({c.event.id for c in claimed}) == 1


async def test_without_an_endpoint_nothing_is_written(store: Store, connection: "asyncpg.Connection") -> None:
    await store.send()
    await store.register(caller="billing")
    await store.send()
    assert await connection.fetchval("SELECT count(*) FROM relaypost.webhook_events") == 0


async def test_what_happened_before_it_was_registered_is_not_told(store: Store) -> None:
    sent = await store.send()
    await store.register()
    await store.receipts.record([event(message_id=sent.id)])
    assert await store.told() == ["message.delivered"]


async def test_a_message_is_written_while_its_endpoint_goes(store: Store, bundled_database: str) -> None:
    """A message must not be lost, or wait, because of who is to be told of it."""
    endpoint = await store.register()
    other = await asyncpg.connect(bundled_database)
    async with other.transaction():
        await other.execute("DELETE FROM relaypost.webhook_endpoints WHERE id = $1", endpoint.id)
        async with asyncio.timeout(10):
            sent = await store.send()
    await other.close()
    assert await store.log.get(sent.id) is not None
    assert await store.claim() == []
