"""Requests that release 0.1 took, repeated to this release: within their retention, its fingerprints are in the log."""

from typing import Any

import asyncpg
import pytest
from relaypost import AsyncClient, RelaypostError
from relaypost.v1 import message_pb2

from tests.e2e.test_queue import NO_WORKER
from tests.faults.world import world

STORED_BY_0_1 = "aacb51b248606ebb0377c460bb71b87956b5473a5a8c6f1ba3863c5ddf067d7e"
"""What a gateway of that release wrote for the email below, sent or queued."""
EMAIL: dict[str, Any] = {"to": "ada@example.com", "subject": "Hi", "text": "Hi", "headers": {"X-Campaign": "a"}}


async def both(client: AsyncClient, **changes: Any) -> list[message_pb2.Message]:
    """The email without a sender, sent and queued."""
    fields = EMAIL | {"request_id": "key"} | changes
    return [await client.send_email(**fields), await client.enqueue_email(**fields)]


async def test_a_request_that_release_0_1_took_is_recognised(bundled_database: str) -> None:
    async with world(bundled_database, NO_WORKER) as running:
        first = await both(running.client)
        connection = await asyncpg.connect(bundled_database)
        await connection.execute("UPDATE relaypost.requests SET fingerprint = $1", STORED_BY_0_1)
        await connection.close()
        assert [m.message_id for m in await both(running.client)] == [m.message_id for m in first]
        for send in (running.client.send_email, running.client.enqueue_email):
            with pytest.raises(RelaypostError) as caught:
                await send(**EMAIL | {"request_id": "key", "text": "Other"})
            assert caught.value.reason == "REQUEST_ID_REUSED"
        assert running.providers.counts == {"ses": 1}
