"""What the queue refuses it does not do, and what it did long ago it does not do again."""

import asyncio

import asyncpg
import pytest
from relaypost import RelaypostError, bulk_email
from relaypost.v1 import message_pb2

from tests.e2e.test_queue import EMAIL, NO_WORKER, ONLY_SES, watched
from tests.faults.world import world

DELIVERED, UNCONFIRMED = message_pb2.MESSAGE_STATE_DELIVERED, message_pb2.MESSAGE_STATE_UNCONFIRMED


async def test_what_is_refused_is_not_done(bundled_database: str) -> None:
    connection = await asyncpg.connect(bundled_database)
    async with world(bundled_database, NO_WORKER) as running:
        settled, doubtful = [(await running.client.enqueue_email(**EMAIL)).message_id for _ in range(2)]
        for state in ("dead", "delivered"):
            await connection.execute("UPDATE relaypost.messages SET state = $2 WHERE id = $1", settled, state)
        await connection.execute(
            "UPDATE relaypost.queue SET death = 'its time was over' WHERE message_id = $1", settled
        )
        for state in ("sending", "unconfirmed"):
            await connection.execute("UPDATE relaypost.messages SET state = $2 WHERE id = $1", doubtful, state)
        with pytest.raises(RelaypostError, match="DELIVERED and was not changed") as not_dead:
            await running.client.requeue_message(settled)
        with pytest.raises(RelaypostError, match="UNCONFIRMED and was not changed") as not_queued:
            await running.client.cancel_message(doubtful)
        states = [(await running.client.get_message(message_id)).state for message_id in (settled, doubtful)]
    waiting = await connection.fetch(
        "SELECT message_id::text FROM relaypost.queue JOIN relaypost.requests USING (message_id)"
        " WHERE death IS NULL AND NOT kept"
    )
    await connection.close()
    assert (not_dead.value.reason, not_queued.value.reason) == ("MESSAGE_NOT_DEAD", "MESSAGE_NOT_QUEUED")
    assert states == [DELIVERED, UNCONFIRMED]
    assert [row["message_id"] for row in waiting] == [doubtful]


async def test_a_batch_that_is_streamed_again_after_days_is_not_sent_again(bundled_database: str) -> None:
    message = bulk_email(to="ada@example.com", subject="News", text="Good news")
    connection = await asyncpg.connect(bundled_database)
    async with world(bundled_database, ONLY_SES) as running:
        first = await running.client.send_bulk("news", [message])
        await watched(running.client, first.batch.batch_id)
        await running.client.send_email(**EMAIL, request_id="order-7")
        await connection.execute("UPDATE relaypost.requests SET remembered_from = now() - interval '80 hours'")
        async with asyncio.timeout(30):  # Until the gateway has forgotten what it forgets.
            while await connection.fetchval("SELECT count(*) FROM relaypost.requests WHERE request_id = 'order-7'"):
                await asyncio.sleep(0.05)
        again = await running.client.send_bulk("news", [message])
        await watched(running.client, again.batch.batch_id)
        assert running.providers.counts == {"ses": 2}
    await connection.close()
    assert (again.batch.batch_id, again.batch.size) == (first.batch.batch_id, 1)
