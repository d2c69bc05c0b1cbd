"""The queue on a real PostgreSQL, as several gateways and workers see it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from relaypost_server.core.message import Address, Attachment, Channel, Email, IndiaDlt, MessageState, Sms, SmsType
from relaypost_server.core.money import Money
from relaypost_server.core.pace import Pace
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.queue import Again, Dead, Death, Done, Lane
from relaypost_server.core.queue_ports import Step
from relaypost_server.store import contents, pools
from tests.store.databases import opened
from tests.store.queues import EMAIL, LONG, SHORT, Replica, letter, opened_replicas, pointer_to


@pytest.fixture(params=[LONG])
async def replicas(
    request: pytest.FixtureRequest, bundled_database: str, tmp_path: Path
) -> AsyncIterator[Sequence[Replica]]:
    """Two of them; the parameter is their lease."""
    async with opened_replicas(bundled_database, tmp_path, lease=request.param) as made:
        yield made


async def test_a_message_is_stored_with_its_pointer_and_claimed_once(replicas: Sequence[Replica]) -> None:
    one, two = replicas
    message = letter()
    (stored,) = await one.queue.enqueue([message])
    assert (stored.new, one.handed) == (True, [pointer_to(message)])
    jobs = await asyncio.gather(*(r.queue.claim(pointer_to(message)) for r in (one, two, one, two)))
    (job,) = [j for j in jobs if j is not None]
    assert job.message is not None
    assert (job.message.content, job.message.metadata, job.message.caller) == (EMAIL, {"order": "7"}, "shop")
    assert (job.tries, job.lane) == (1, Lane.BULK)
    record = await two.log.get(message.record.id)
    assert record is not None
    assert record.state is MessageState.SENDING


async def test_what_a_record_holds_of_a_direct_send_it_holds_of_a_queued_one(replicas: Sequence[Replica]) -> None:
    message = letter(content=Sms(to="+14155550123", country="US", text="Hi", sender_id="Shop"))
    await replicas[0].queue.enqueue([message])
    assert await replicas[1].log.get(message.record.id) == message.record


async def test_what_is_not_due_waits_and_is_handed_over_by_one(replicas: Sequence[Replica]) -> None:
    later = letter(due=datetime.now(UTC) + timedelta(seconds=1.5))
    await replicas[0].queue.enqueue([later])
    assert await replicas[0].queue.hand_over(10) == 0
    assert await replicas[0].queue.claim(pointer_to(later)) is None
    await asyncio.sleep(1.6)
    handed = await asyncio.gather(*(r.queue.hand_over(10) for r in replicas))
    assert sorted(handed) == [0, 1]


async def test_a_name_is_taken_once_whoever_asks_first(replicas: Sequence[Replica]) -> None:
    first, second = letter(name="order-7"), letter(name="order-7")
    (a,), (b,) = await asyncio.gather(replicas[0].queue.enqueue([first]), replicas[1].queue.enqueue([second]))
    assert sorted([a.new, b.new]) == [False, True]
    kept = first if a.new else second
    assert await replicas[0].queue.earlier(second) == (kept.record.id, kept.fingerprint)


async def test_a_try_that_failed_comes_again_after_its_pause_and_then_is_given_up(replicas: Sequence[Replica]) -> None:
    one, two = replicas
    message = letter()
    await one.queue.enqueue([message])
    for tries, next_step in ((1, Again(0.2)), (2, Again(0.0, counted=False)), (2, Dead(Death.TRIED))):
        job = await one.queue.claim(pointer_to(message))
        assert job is not None
        assert job.tries == tries
        state = MessageState.DEAD if isinstance(next_step, Dead) else MessageState.QUEUED
        await one.requests.finish(replace(job.record, state=state), fence=job.fence, kept=False)
        await one.queue.settle(Step(message_id=message.record.id, fence=job.fence, next=next_step))
        await asyncio.sleep(0.25)
        assert await two.queue.hand_over(10) == (0 if isinstance(next_step, Dead) else 1)
    (dead,) = await two.queue.dead_letters(before=None, limit=10)
    assert (dead.record.id, dead.reason, dead.tries) == (message.record.id, Death.TRIED, 2)
    await two.recover()
    assert (await two.queue.requeue(message.record.id, {Lane.BULK: 60.0}))[0]
    assert await two.queue.hand_over(10) == 1
    again = await one.queue.claim(pointer_to(message))
    assert again is not None
    assert again.tries == 1


async def test_what_was_sent_leaves_nothing_behind(replicas: Sequence[Replica]) -> None:
    one, _ = replicas
    message = letter()
    await one.queue.enqueue([message])
    job = await one.queue.claim(pointer_to(message))
    assert job is not None
    await one.requests.finish(replace(job.record, state=MessageState.SENT), fence=job.fence, kept=True)
    await one.queue.settle(Step(message_id=message.record.id, fence=job.fence, next=Done()))
    assert await one.queue.claim(pointer_to(message)) is None
    for requeued in (False, (await one.queue.requeue(message.record.id, {Lane.BULK: 60.0}))[0]):
        record = await one.queue.cancel(message.record.id)
        assert record is not None
        assert (requeued, record.state) == (False, MessageState.SENT)


@pytest.mark.parametrize("replicas", [SHORT], indirect=True)
async def test_what_a_dead_worker_held_comes_again_and_its_fence_holds(replicas: Sequence[Replica]) -> None:
    one, two = replicas
    message = letter()
    await one.queue.enqueue([message])
    held = await one.queue.claim(pointer_to(message))
    assert held is not None
    await asyncio.sleep(SHORT + 0.1)
    await two.recover()
    assert await two.queue.hand_over(10) == 1
    again = await two.queue.claim(pointer_to(message))
    assert again is not None
    assert again.fence > held.fence
    late = await one.requests.finish(replace(held.record, state=MessageState.SENT), fence=held.fence, kept=True)
    record = await two.log.get(message.record.id)
    assert record is not None
    assert (late, record.state) == (True, MessageState.SENDING), "written, and without effect"


@pytest.mark.parametrize("replicas", [SHORT], indirect=True)
async def test_a_pointer_that_comes_under_a_lease_is_followed_by_another_one(replicas: Sequence[Replica]) -> None:
    """The result of the try before may wait in a spool: the pointer must not be the last one."""
    one, two = replicas
    message = letter()
    await one.queue.enqueue([message])
    held = await one.queue.claim(pointer_to(message))
    assert held is not None
    assert await two.queue.claim(pointer_to(message)) is None
    record = replace(held.record, state=MessageState.QUEUED)
    assert await one.requests.finish(record, fence=held.fence, kept=False)
    async with asyncio.timeout(30):
        while not await two.queue.hand_over(10):
            await asyncio.sleep(0.05)
    again = await two.queue.claim(pointer_to(message))
    assert again is not None


async def test_a_message_is_cancelled_while_nobody_is_at_it(replicas: Sequence[Replica]) -> None:
    one, two = replicas
    free, taken = letter(), letter()
    await one.queue.enqueue([free, taken])
    await one.queue.claim(pointer_to(taken))
    answers = [await two.queue.cancel(message.record.id) for message in (free, taken)]
    assert [answer and answer.state for answer in answers] == [MessageState.CANCELLED, MessageState.SENDING]
    assert await one.queue.claim(pointer_to(free)) is None
    assert answers == [await one.log.get(message.record.id) for message in (free, taken)]


async def test_a_bucket_is_shared(replicas: Sequence[Replica]) -> None:
    pace = Pace(rate=0.001, burst=10.0)
    grants = await asyncio.gather(*(r.queue.take("ses", pace, 4) for r in (*replicas, *replicas)))
    assert sorted(g.granted for g in grants) == [0, 2, 4, 4]


async def test_a_batch_belongs_to_its_caller_and_counts_its_states(replicas: Sequence[Replica]) -> None:
    one, two = replicas
    batch_id = letter().record.id
    batch = await one.batches.open(batch_id, caller="shop", request_id="news", fingerprint="f")
    same = await two.batches.open(letter().record.id, caller="shop", request_id="news", fingerprint="g")
    assert (same.id, same.fingerprint) == (batch.id, "f")
    await one.queue.enqueue([letter(batch_id=batch.id), letter(batch_id=batch.id)])
    await one.batches.advance(batch.id, stored=2, closed=True)
    found = await two.batches.find("shop", request_id="news")
    assert found is not None
    progress = await two.batches.progress(found)
    assert (progress.states, progress.over, found.stored) == ({MessageState.QUEUED: 2}, False, 2)
    assert await two.batches.find("another", batch_id=batch.id) is None


async def test_streams_that_open_a_batch_at_once_open_the_same(replicas: Sequence[Replica]) -> None:
    async def opens(replica: Replica, name: str) -> str:
        batch = await replica.batches.open(letter().record.id, caller="shop", request_id=name, fingerprint="f")
        return batch.id

    for name in map(str, range(30)):
        ids = await asyncio.gather(*(opens(replica, name) for replica in replicas for _ in range(4)))
        assert len(set(ids)) == 1


@pytest.mark.parametrize(
    "content",
    [
        EMAIL,
        replace(
            EMAIL,
            cc=(Address(email="c@example.com", name="Çe"),),
            html="<p>\u2028 \U0001f600</p>",
            headers={"X-A": "b"},
            tags={"a": "b"},
            attachments=(Attachment(filename="a.bin", content=bytes(range(256)), content_id="x"),),
        ),
        Sms(to="+14155550123", country="US", text="Hi", type=SmsType.PROMOTIONAL, max_price=Money(micros=5)),
        Sms(to="+14155550123", country="US", text="Hi", validity=60.0),
        Sms(to="+14155550123", country="US", text="Hi", sender_id="My Shop"),
        Sms(
            to="+919876543210",
            country="IN",
            text="Hi",
            sender_number="12345",
            india_dlt=IndiaDlt(entity_id="1101", template_id="1107"),
        ),
    ],
)
def test_contents_are_read_as_they_were_written(content: Email | Sms) -> None:
    assert contents.read(contents.write(content)) == content


def test_a_worker_of_0_1_reads_a_content_that_uses_nothing_new() -> None:
    """It knows no other field, and buries a message with one."""
    email = {"sender", "to", "cc", "bcc", "reply_to", "subject", "text", "html", "attachments", "headers", "tags"}
    sms = {"to", "country", "text", "sender_id", "type", "max_price", "validity"}
    for content, known in ((EMAIL, email), (Sms(to="+14155550123", country="US", text="Hi"), sms)):
        assert set(json.loads(contents.write(content))["content"]) == known


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"channel": "email", "content": {"to": 1}}', b"[]"])
def test_what_cannot_be_read_says_so(data: bytes) -> None:
    with pytest.raises(contents.UnreadableError):
        contents.read(data)


async def test_what_cannot_be_read_is_claimed_without_words(replicas: Sequence[Replica], bundled_database: str) -> None:

    message = letter()
    await replicas[0].queue.enqueue([message])
    connection = await asyncpg.connect(bundled_database)
    await connection.execute("UPDATE relaypost.queue SET content = 'nonsense'")
    await connection.close()
    job = await replicas[0].queue.claim(pointer_to(message))
    assert job is not None
    assert job.message is None
    assert Channel(job.record.channel) is Channel.EMAIL


async def test_what_a_dead_letter_says_is_forgotten_in_time(replicas: Sequence[Replica]) -> None:
    one, _ = replicas
    message = letter()
    await one.queue.enqueue([message])
    job = await one.queue.claim(pointer_to(message))
    assert job is not None
    await one.requests.finish(replace(job.record, state=MessageState.DEAD), fence=job.fence, kept=False)
    await one.queue.settle(Step(message_id=message.record.id, fence=job.fence, next=Dead(Death.TRIED)))
    await one.queue.sweep(lost=3600.0, dead=3600.0)
    assert len(await one.queue.dead_letters(before=None, limit=10)) == 1
    await one.queue.sweep(lost=3600.0, dead=0.0)
    assert await one.queue.dead_letters(before=None, limit=10) == []
    requeued, record = await one.queue.requeue(message.record.id, {Lane.BULK: 60.0})
    assert record is not None
    assert (requeued, record.state) == (False, MessageState.DEAD)


async def test_a_process_that_stops_within_a_transaction_keeps_its_rows_from_nobody(
    replicas: Sequence[Replica], bundled_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "IDLE_SECONDS", 0.5)
    message = letter()
    await replicas[0].queue.enqueue([message])
    async with opened(bundled_database, tmp_path / "stopped") as stopped:

        async def stop_halfway() -> None:
            async with stopped.transaction() as connection:
                await connection.fetch("SELECT FROM relaypost.queue FOR UPDATE")
                job = await replicas[1].queue.claim(pointer_to(message))
                assert job is not None
                await connection.fetch("SELECT 1")

        with pytest.raises(LogUnavailableError):
            await stop_halfway()
