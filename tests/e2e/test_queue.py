"""Messages that are sent later, by real gateways and workers on one database."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from relaypost import AsyncClient, InvalidRequestError, RelaypostError, bulk_email, bulk_sms
from relaypost.v1 import message_pb2, queue_service_pb2 as pb

from tests.e2e.gateway import gateway
from tests.faults.providers import FAULT, TAKEN
from tests.faults.world import World, until, world

UNPACED = {"RELAYPOST_SES_RATE": "0", "RELAYPOST_SNS_RATE": "0", "RELAYPOST_TWILIO_RATE": "0"}
ONLY_SES = {**UNPACED, "RELAYPOST_SENDGRID_ENABLED": "false", "RELAYPOST_SMTP_ENABLED": "false"}
NO_WORKER = {**ONLY_SES, "RELAYPOST_QUEUE_WORK_IN_SERVE": "false"}
SHORT_LEASE = {"RELAYPOST_QUEUE_LEASE_SECONDS": "4"}
EMAIL: dict[str, Any] = {"to": "ada@example.com", "subject": "Your order", "text": "It is on its way"}


async def state(client: AsyncClient, message_id: str, wanted: str, seconds: float = 20.0) -> message_pb2.Message:
    """The message, once it is in the state."""
    message = message_pb2.Message()
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await client.get_message(message_id)
                if message_pb2.MessageState.Name(message.state) == f"MESSAGE_STATE_{wanted}":
                    return message
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not {wanted}: {message}") from None


async def watched(client: AsyncClient, batch_id: str) -> pb.Batch:
    """The batch when nothing of it waits any more."""
    answers = [a async for a in client.queue.WatchBatch(pb.WatchBatchRequest(batch_id=batch_id), timeout=90)]
    return answers[-1].batch


@asynccontextmanager
async def working(running: World, database: str, **environ: str) -> AsyncIterator[Callable[[signal.Signals], None]]:
    """`relaypost work` beside the gateway; sends it signals."""
    async with gateway({**running.environ, **environ}, database=database, command="work") as worker:
        yield worker.process.send_signal


async def test_a_queued_email_is_sent_once_and_its_text_is_forgotten(bundled_database: str) -> None:
    async with world(bundled_database, ONLY_SES) as running:
        queued = await running.client.enqueue_email(**EMAIL)
        assert queued.state == message_pb2.MESSAGE_STATE_QUEUED
        sent = await state(running.client, queued.message_id, "SENT")
        assert [a.provider for a in sent.attempts] == ["ses"]
        assert running.providers.counts == {"ses": 1}
        assert await count(bundled_database, "true", table="queue") == 0


async def test_a_text_message_waits_for_its_time(bundled_database: str) -> None:
    async with world(bundled_database, UNPACED) as running:
        due = datetime.now(UTC) + timedelta(seconds=2)
        queued = await running.client.enqueue_sms(to="+14155550123", text="Soon", send_at=due)
        await asyncio.sleep(1)
        assert running.providers.counts == {}
        sent = await state(running.client, queued.message_id, "SENT")
        assert sent.attempts[0].start_time.ToDatetime(UTC) >= due - timedelta(seconds=1)


async def test_a_repeated_request_is_queued_once(bundled_database: str) -> None:
    async with world(bundled_database, NO_WORKER) as running:
        first = await running.client.enqueue_email(**EMAIL, request_id="order-7")
        again = await running.client.enqueue_email(**EMAIL, request_id="order-7")
        assert again.message_id == first.message_id
        with pytest.raises(RelaypostError) as reused:
            await running.client.enqueue_email(**{**EMAIL, "text": "Other"}, request_id="order-7")
        assert reused.value.reason == "REQUEST_ID_REUSED"
        async with AsyncClient(running.gateway.grpc, caller="another") as stranger:
            other = await stranger.enqueue_email(**EMAIL, request_id="order-7")
        assert other.message_id != first.message_id


async def test_a_message_is_cancelled_until_it_is_sent(bundled_database: str) -> None:
    async with world(bundled_database, NO_WORKER) as running:
        queued = await running.client.enqueue_email(**EMAIL)
        cancelled = await running.client.cancel_message(queued.message_id)
        assert cancelled.state == message_pb2.MESSAGE_STATE_CANCELLED
        again = await running.client.cancel_message(queued.message_id)
        assert again == cancelled, "an answer that was lost may be asked for again"
        async with working(running, bundled_database):
            later = await running.client.enqueue_email(**EMAIL)
            await state(running.client, later.message_id, "SENT")
            with pytest.raises(RelaypostError, match="is SENT and was not changed") as late:
                await running.client.cancel_message(later.message_id)
            assert late.value.reason == "MESSAGE_NOT_QUEUED"
        assert running.providers.counts == {"ses": 1}


async def test_what_was_not_sent_is_tried_again_with_every_attempt_on_record(bundled_database: str) -> None:
    async with world(bundled_database, ONLY_SES) as running:
        ses = running.providers.ses
        ses.reply = lambda _: FAULT["ses"] if len(ses.received) <= 2 else TAKEN["ses"]
        queued = await running.client.enqueue_email(**EMAIL)
        sent = await state(running.client, queued.message_id, "SENT")
        assert [message_pb2.OutcomeKind.Name(a.kind) for a in sent.attempts] == [
            "OUTCOME_KIND_FAULTED",
            "OUTCOME_KIND_FAULTED",
            "OUTCOME_KIND_ACCEPTED",
        ]


async def test_what_is_given_up_is_listed_with_the_reason_and_may_be_queued_again(bundled_database: str) -> None:
    async with world(bundled_database, ONLY_SES) as running:
        running.providers.ses.always(FAULT["ses"])
        expires = datetime.now(UTC) + timedelta(seconds=1)
        queued = await running.client.enqueue_email(**EMAIL, expire_time=expires)
        await state(running.client, queued.message_id, "DEAD")
        listed = await running.client.queue.ListDeadLetters(pb.ListDeadLettersRequest())
        (letter,) = listed.dead_letters
        assert (letter.message.message_id, letter.reason) == (queued.message_id, "its time was over")
        running.providers.heal()
        await running.client.queue.RequeueMessage(pb.RequeueMessageRequest(message_id=queued.message_id))
        await state(running.client, queued.message_id, "SENT")
        with pytest.raises(Exception, match="is SENT and was not changed"):
            await running.client.queue.RequeueMessage(pb.RequeueMessageRequest(message_id=queued.message_id))


async def test_a_batch_leaves_out_what_is_not_valid_and_tells_how_far_it_is(bundled_database: str) -> None:
    async with world(bundled_database, UNPACED) as running:
        messages = [
            bulk_email(**{**EMAIL, "to": f"reader{n}@example.com"}) if n % 2 else bulk_sms(to="+14155550123", text="Hi")
            for n in range(1200)
        ]
        messages[700] = bulk_sms(to="nobody", text="Hi")
        answer = await running.client.send_bulk("letter-1", messages)
        assert (answer.valid_count, answer.refused_count, answer.segments) == (1199, 1, 599)
        assert [(r.position, r.field) for r in answer.refusals] == [(701, "sms.to")]
        assert (answer.batch.size, answer.batch.stored, answer.batch.closed) == (1199, 1200, True)
        seen = [
            a.batch async for a in running.client.queue.WatchBatch(pb.WatchBatchRequest(batch_id=answer.batch.batch_id))
        ]
        assert {message_pb2.MessageState.Name(s.state): s.count for s in seen[-1].states} == {
            "MESSAGE_STATE_SENT": 1199
        }
        assert sum(running.providers.counts.values()) == 1199


async def test_a_batch_that_broke_goes_on_where_it_was(bundled_database: str) -> None:
    async with world(bundled_database, ONLY_SES) as running:
        messages = [bulk_email(**{**EMAIL, "to": f"reader{n}@example.com"}) for n in range(1100)]

        stream = running.client.queue.SendBulk()
        await stream.write(pb.SendBulkRequest(header=pb.BulkHeader(request_id="letter-1")))
        for message in messages[:800]:
            await stream.write(pb.SendBulkRequest(message=message))
        async with asyncio.timeout(30):
            while await stored(running.client) < 500:
                await asyncio.sleep(0.05)
        stream.cancel()
        assert not (await running.client.get_batch("letter-1")).closed
        answer = await running.client.send_bulk("letter-1", messages)
        assert (answer.batch.size, answer.batch.closed) == (1100, True)
        await until(lambda: running.providers.received("ses") >= 1100, 30)
        await asyncio.sleep(0.5)
        assert running.providers.received("ses") == 1100


async def test_a_dry_run_counts_and_stores_nothing(bundled_database: str) -> None:
    async with world(bundled_database, UNPACED) as running:
        answer = await running.client.send_bulk(
            "letter-1", [bulk_sms(to="+14155550123", text="x" * 200)], validate_only=True
        )
        assert (answer.valid_count, answer.segments, answer.batch.batch_id) == (1, 2, "")
        assert answer.estimated_cost.micros > 0
        with pytest.raises(RelaypostError) as unknown:
            await running.client.get_batch("letter-1")
        assert unknown.value.reason == "BATCH_NOT_FOUND"


async def test_codes_do_not_wait_behind_a_batch(bundled_database: str) -> None:
    slow = {**ONLY_SES, "RELAYPOST_SES_RATE": "20"}
    async with world(bundled_database, slow) as running:
        await running.client.send_bulk("letter-1", [bulk_email(**EMAIL) for _ in range(400)])
        began = asyncio.get_running_loop().time()
        code = await running.client.enqueue_email(**EMAIL, lane="otp")
        await state(running.client, code.message_id, "SENT", 5)
        assert asyncio.get_running_loop().time() - began < 3
        assert running.providers.received("ses") < 200


async def test_workers_together_keep_to_the_pace(bundled_database: str) -> None:
    slow = {**ONLY_SES, "RELAYPOST_SES_RATE": "20"}
    async with world(bundled_database, slow) as running, working(running, bundled_database):
        await running.client.send_bulk("letter-1", [bulk_email(**EMAIL) for _ in range(100)])
        began = asyncio.get_running_loop().time()
        await until(lambda: running.providers.received("ses") == 100, 30)
        took = asyncio.get_running_loop().time() - began
        assert took > (100 - 20) / 20 - 1.0, "the burst of a second, then twenty a second"


async def test_a_worker_that_waits_for_a_pace_stops_at_once_and_loses_nothing(bundled_database: str) -> None:
    slow = {**NO_WORKER, "RELAYPOST_SES_RATE": "0.1"}
    async with world(bundled_database, slow) as running:
        async with gateway(running.environ, database=bundled_database, command="work") as worker:
            await running.client.send_bulk("letter-1", [bulk_email(**EMAIL) for _ in range(50)])
            await until(lambda: running.providers.received("ses") == 1)
            began = asyncio.get_running_loop().time()
            assert await worker.stop() == 0
            assert asyncio.get_running_loop().time() - began < 10, "its grace is 25 seconds"
        async with working(running, bundled_database, RELAYPOST_SES_RATE="0"):
            await all_settled(bundled_database, 50)
        assert running.providers.received("ses") == 50


async def test_what_a_killed_worker_left_is_sent_by_another(bundled_database: str) -> None:
    async with world(bundled_database, NO_WORKER, SHORT_LEASE) as running, AsyncExitStack() as stack:
        doomed = await stack.enter_async_context(working(running, bundled_database))
        await running.client.send_bulk("letter-1", [bulk_email(**EMAIL) for _ in range(300)])
        await until(lambda: running.providers.received("ses") > 20)
        doomed(signal.SIGKILL)
        async with working(running, bundled_database):
            await until(lambda: running.providers.received("ses") >= 280, 60)
            last = await watched(running.client, (await running.client.get_batch("letter-1")).batch_id)
        assert sum(s.count for s in last.states) == 300
        unconfirmed = await count(bundled_database, "state = 'unconfirmed'")
        assert 300 - unconfirmed <= running.providers.received("ses") <= 300


async def test_a_worker_that_slept_past_its_lease_sends_nothing(bundled_database: str) -> None:
    async with world(bundled_database, NO_WORKER, SHORT_LEASE) as running:
        async with working(running, bundled_database) as sleeper:
            await running.client.send_bulk("letter-1", [bulk_email(**EMAIL) for _ in range(300)])
            await until(lambda: running.providers.received("ses") > 20)
            sleeper(signal.SIGSTOP)
            async with working(running, bundled_database):
                # What the sleeper held is settled by the others: sent, unless the sleeper may have done so.
                await all_settled(bundled_database, 300)
                sleeper(signal.SIGCONT)
                await asyncio.sleep(2)
        submissions = Counter(s.message_id for s in running.providers.submissions())
        assert set(submissions.values()) == {1}
        # What certainly was not sent is queued again; what may have been waits for somebody to find out.
        left = await count(bundled_database, "state IN ('queued', 'sending', 'unconfirmed')")
        assert 300 - left <= len(submissions) <= 300


async def test_a_schedule_that_makes_no_sense_is_refused_by_field(bundled_database: str) -> None:
    async with world(bundled_database, UNPACED) as running:
        past = datetime.now(UTC) - timedelta(days=1)
        with pytest.raises(InvalidRequestError) as refused:
            await running.client.enqueue_email(**EMAIL, send_at=past, expire_time=past)
        assert {v.field for v in refused.value.violations} == {"schedule.send_at", "schedule.expire_time"}


async def stored(client: AsyncClient) -> int:
    """How far the batch is; 0 where the stream has not even begun it."""
    try:
        return (await client.get_batch("letter-1")).stored
    except RelaypostError as error:
        if error.reason != "BATCH_NOT_FOUND":
            raise
        return 0


async def count(url: str, condition: str, table: str = "messages") -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(f"SELECT count(*) FROM relaypost.{table} WHERE {condition}"))
    finally:
        await connection.close()


async def all_settled(url: str, messages: int, seconds: float = 120.0) -> None:
    async with asyncio.timeout(seconds):
        while await count(url, "state IN ('sent', 'unconfirmed')") < messages:
            await asyncio.sleep(0.2)
