"""How many SendBulk streams a gateway reads at once."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from relaypost import AsyncClient, RelaypostError, bulk_sms
from relaypost.v1 import queue_service_pb2 as pb

from tests.e2e.gateway import gateway


async def test_a_stream_beyond_the_limit_is_refused_with_a_reason(bundled_database: str) -> None:
    may_end = asyncio.Event()

    async def held() -> AsyncIterator[pb.SendBulkRequest]:
        yield pb.SendBulkRequest(header=pb.BulkHeader(request_id="held"))
        await may_end.wait()
        yield pb.SendBulkRequest(message=bulk_sms(to="+14155550123", text="Hi"))

    async with (
        gateway({"RELAYPOST_MAX_BULK_STREAMS": "1"}, database=bundled_database) as running,
        AsyncClient(running.grpc) as client,
    ):
        first = client.queue.SendBulk(held())
        await first.wait_for_connection()

        async def until_refused() -> None:
            async with asyncio.timeout(30):
                while True:
                    await client.send_bulk("other", [], timeout=20.0)

        with pytest.raises(RelaypostError) as caught:
            await until_refused()
        assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert caught.value.reason == "TOO_MANY_STREAMS"
        assert caught.value.retry_after == 5.0
        assert "RELAYPOST_MAX_BULK_STREAMS" in str(caught.value)
        may_end.set()
        assert (await first).batch.size == 1
        assert (await client.send_bulk("other", [bulk_sms(to="+14155550123", text="Hi")])).valid_count == 1
