"""Receipts on a real PostgreSQL, as several gateways are told of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path

import asyncpg
import pytest

from relaypost_server.core.delivery import EventType, RejectReason, fold
from relaypost_server.core.idempotency import Begun, Claim, Replay, RequestKey
from relaypost_server.core.message import Guarantee, MessageState
from relaypost_server.core.outcome import Kind
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.record import MessageRecord
from relaypost_server.core.suppression import comparable
from relaypost_server.store import deliveries, writer
from relaypost_server.store.deliveries import LARGEST_BATCH, PostgresDeliveries
from relaypost_server.store.messages import PostgresLog
from relaypost_server.store.requests import PostgresRequests
from tests.databases import over_tcp
from tests.fakes.http import closed_port
from tests.receipts import event
from tests.store.databases import opened
from tests.store.records import record
from tests.store.test_requests import attempt

DELIVERED, BOUNCED, SENT = MessageState.DELIVERED, MessageState.BOUNCED, MessageState.SENT


@dataclass
class Replica:
    """One gateway's view of the database."""

    deliveries: PostgresDeliveries
    log: PostgresLog
    requests: PostgresRequests

    async def get(self, message_id: str) -> MessageRecord:
        found = await self.log.get(message_id)
        assert found is not None
        return found

    async def state(self, message_id: str) -> MessageState:
        return (await self.get(message_id)).state


@pytest.fixture
async def replicas(
    bundled_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[Replica]]:
    """Two of them."""
    monkeypatch.setattr(writer, "ANSWER_SECONDS", 30.0)
    monkeypatch.setattr(writer, "WORD_SECONDS", 30.0)
    async with AsyncExitStack() as stack:
        made = []
        for number in range(2):
            database = await stack.enter_async_context(opened(bundled_database, tmp_path / str(number)))
            requests = PostgresRequests(database, lease=3600.0)
            made.append(Replica(PostgresDeliveries(database), PostgresLog(database), requests))
        yield made


@pytest.fixture
def one(replicas: list[Replica]) -> Replica:
    return replicas[0]


def unconfirmed(**changes: object) -> MessageRecord:
    doubtful = (attempt("ses", Kind.UNCONFIRMED),)
    return record(
        state=MessageState.UNCONFIRMED, provider="", provider_message_id="", attempts=doubtful, cost=None, **changes
    )


def claim(made: MessageRecord) -> Claim:
    key = RequestKey(caller="signup", method="SendEmail", request_id="r-1")
    begun = replace(made, state=MessageState.SENDING, attempts=())
    return Claim(key=key, fingerprint="f", record=begun, first_provider="ses")


async def test_a_receipt_is_shown_with_its_message(one: Replica) -> None:
    sent = record(state=SENT)
    await one.log.append(sent)
    receipt = event(
        EventType.BOUNCED,
        message_id=sent.id,
        reject_reason=RejectReason.INVALID,
        provider_code="Permanent/General",
        detail="no such mailbox",
    )
    assert await one.deliveries.record([replace(receipt, raw={"eventType": "Bounce"})]) == 1
    found = await one.get(sent.id)
    assert (found.state, found.events) == (BOUNCED, (receipt,))
    assert found.update_time > sent.update_time
    assert (found.provider, found.provider_message_id) == ("smtp", "id-1")


async def test_a_receipt_shows_those_recipients_of_its_message_that_it_names(one: Replica) -> None:
    """A provider can name anybody; an address that was no recipient is not shown."""
    sent = record(state=SENT, recipients=("Ada@Example.com", "b@example.com", "c@example.com"))
    await one.log.append(sent)
    named = ("c@example.com", "stranger@example.com", "ada@example.com")
    told = [
        event(EventType.BOUNCED, message_id=sent.id, recipients=named),
        event(EventType.OPENED, message_id=sent.id, after=1),
        event(EventType.OPENED, message_id=sent.id, after=2, recipients=("stranger@example.com",)),
    ]
    await one.deliveries.record(told)
    shown = [e.recipients for e in (await one.get(sent.id)).events]
    assert shown == [("Ada@Example.com", "c@example.com"), (), ()]


async def test_letters_beyond_ascii_are_compared_alike_by_python_and_postgresql(one: Replica) -> None:
    sent = record(state=SENT, recipients=("JOSÉ@Example.com",))
    await one.log.append(sent)
    named = (comparable("JOSÉ@Example.com"),)
    await one.deliveries.record([event(EventType.BOUNCED, message_id=sent.id, recipients=named)])
    assert [e.recipients for e in (await one.get(sent.id)).events] == [sent.recipients]


async def test_every_order_ends_as_the_core_says(replicas: list[Replica]) -> None:
    kinds = [EventType.SENT, EventType.DEFERRED, EventType.DELIVERED, EventType.COMPLAINED, EventType.OPENED]
    expected = fold(event(kind) for kind in kinds)
    assert expected is not None
    for order in permutations(kinds):
        sent = record(state=SENT)
        await replicas[0].log.append(sent)
        for number, kind in enumerate(order):
            assert await replicas[number % 2].deliveries.record([event(kind, message_id=sent.id)]) == 1
        assert await replicas[0].state(sent.id) is expected.state


async def test_events_of_one_batch_are_folded_together(one: Replica) -> None:
    sent = record(state=SENT)
    await one.log.append(sent)
    kinds = [EventType.DELIVERED, EventType.SENT, EventType.OPENED]
    await one.deliveries.record([event(k, message_id=sent.id, after=n) for n, k in enumerate(kinds)])
    found = await one.get(sent.id)
    assert (found.state, [e.type for e in found.events]) == (DELIVERED, kinds)


async def test_an_event_counts_once_however_often_it_is_reported(replicas: list[Replica]) -> None:
    sent = record(state=SENT)
    await replicas[0].log.append(sent)
    receipts = [event(message_id=sent.id) for _ in range(50)]
    told = [receipts, receipts[::-1]] * 5
    new = await asyncio.gather(*(replicas[n % 2].deliveries.record(batch) for n, batch in enumerate(told)))
    assert sum(new) == 50
    assert len((await replicas[0].get(sent.id)).events) == 50


async def test_the_same_event_id_of_another_provider_is_another_event(one: Replica) -> None:
    first = event()
    assert await one.deliveries.record([first, replace(first, provider="sendgrid")]) == 2


async def test_a_receipt_that_is_early_waits_for_its_message(one: Replica) -> None:
    late = record(state=SENT)
    await one.deliveries.record([event(message_id=late.id)])
    assert await one.deliveries.match() == 0
    await one.log.append(late)
    assert await one.state(late.id) is SENT
    assert await one.deliveries.match() == 1
    assert await one.state(late.id) is DELIVERED
    assert await one.deliveries.match() == 0


async def test_an_unconfirmed_message_is_settled(one: Replica) -> None:
    doubtful = unconfirmed()
    await one.log.append(doubtful)
    await one.deliveries.record([event(EventType.SENT, message_id=doubtful.id)])
    found = await one.get(doubtful.id)
    assert (found.state, found.provider, found.provider_message_id) == (SENT, "ses", "0100-ses")
    assert await one.log.resolve(doubtful.id, sent=False) is None


async def test_a_receipt_makes_the_answer_to_a_request_final(replicas: list[Replica]) -> None:
    made = unconfirmed(guarantee=Guarantee.AT_LEAST_ONCE)
    one, other = replicas
    await one.requests.begin(claim(made))
    await one.requests.finish(made, fence=1, kept=False)
    await one.deliveries.record([event(message_id=made.id)])
    answer = await other.requests.begin(claim(unconfirmed()))
    assert isinstance(answer, Replay)
    assert (answer.record.id, answer.record.state) == (made.id, DELIVERED)


async def test_the_end_of_a_walk_does_not_undo_a_receipt(one: Replica) -> None:
    made = unconfirmed(guarantee=Guarantee.AT_LEAST_ONCE)
    begun = await one.requests.begin(claim(made))
    assert isinstance(begun, Begun)
    await one.deliveries.record([event(message_id=made.id)])
    assert await one.state(made.id) is DELIVERED
    await one.requests.finish(made, fence=1, kept=False)
    found = await one.get(made.id)
    assert (found.state, found.provider, len(found.attempts)) == (DELIVERED, "ses", 1)
    assert isinstance(await one.requests.begin(claim(unconfirmed())), Replay)


async def test_an_opened_message_alone_settles_nothing(one: Replica) -> None:
    doubtful = unconfirmed()
    await one.log.append(doubtful)
    await one.deliveries.record([event(EventType.OPENED, message_id=doubtful.id)])
    found = await one.get(doubtful.id)
    assert (found.state, len(found.events)) == (MessageState.UNCONFIRMED, 1)


async def test_a_message_that_is_being_written_is_left_for_later(one: Replica, bundled_database: str) -> None:
    sent = record(state=SENT)
    await one.log.append(sent)
    busy = await asyncpg.connect(bundled_database)
    async with busy.transaction():
        await busy.execute("SELECT FROM relaypost.messages WHERE id = $1 FOR UPDATE", sent.id)
        async with asyncio.timeout(5):
            assert await one.deliveries.record([event(message_id=sent.id)]) == 1
        assert await one.state(sent.id) is SENT
    await busy.close()
    assert await one.deliveries.match() == 1
    assert await one.state(sent.id) is DELIVERED


async def test_what_belongs_to_nobody_holds_nothing_up(one: Replica) -> None:
    """As with two installations that share one account of a provider."""
    await one.deliveries.record([event(message_id=record().id) for _ in range(LARGEST_BATCH + 50)])
    late = record(state=SENT)
    await one.deliveries.record([event(message_id=late.id)])
    await one.log.append(late)
    assert await one.deliveries.match() == 1
    assert await one.state(late.id) is DELIVERED


async def test_many_gateways_that_write_and_are_told_at_once_do_not_lock_one_another_out(
    replicas: list[Replica],
) -> None:
    sent = [record(state=SENT) for _ in range(300)]
    writes = [replicas[n % 2].log.append(made) for n, made in enumerate(sent)]
    told = [[event(message_id=made.id) for made in order] for order in (sent, sent[::-1], sent[150:] + sent[:150])]
    await asyncio.gather(*writes, *(replicas[n % 2].deliveries.record(batch) for n, batch in enumerate(told)))
    while await replicas[0].deliveries.match():
        pass
    assert {await replicas[1].state(made.id) for made in sent} == {DELIVERED}


async def test_old_events_are_looked_at_now_and_then(
    one: Replica, bundled_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "THOROUGH_EVERY", 3)
    late = record(state=SENT)
    await one.deliveries.record([event(message_id=late.id), event(message_id=record().id)])
    await one.log.append(late)
    assert await one.deliveries.match() == 1
    connection = await asyncpg.connect(bundled_database)
    await connection.execute(
        "UPDATE relaypost.delivery_events SET waiting = true, receive_time = now() - '1h'::interval"
    )
    assert [await one.deliveries.match() for _ in range(4)] == [0, 0, 1, 0]
    await connection.execute("UPDATE relaypost.delivery_events SET receive_time = now() - '8 days'::interval")
    assert await connection.fetchval("SELECT count(*) FROM relaypost.delivery_events WHERE waiting") == 1
    for _ in range(3):
        await one.deliveries.match()
    assert await connection.fetchval("SELECT count(*) FROM relaypost.delivery_events WHERE waiting") == 0
    await connection.close()


async def test_versions_change_with_every_change(one: Replica) -> None:
    sent = record(state=SENT)
    assert await one.log.versions([sent.id]) == {}
    await one.log.append(sent)
    seen = [await one.log.versions([sent.id])]
    for kind in (EventType.DELIVERED, EventType.OPENED):
        await one.deliveries.record([event(kind, message_id=sent.id)])
        seen.append(await one.log.versions([sent.id]))
    assert len({str(v[sent.id]) for v in seen}) == 3


async def test_while_the_database_is_away_a_receipt_is_refused(bundled_database: str, tmp_path: Path) -> None:
    async with opened(over_tcp(bundled_database, closed_port()), tmp_path) as database:
        deliveries = PostgresDeliveries(database)
        with pytest.raises(LogUnavailableError):
            await deliveries.record([event()])
        with pytest.raises(LogUnavailableError):
            await deliveries.match()
