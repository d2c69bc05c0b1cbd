"""Reports and listings that take long, before the real process: nobody else waits for them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import asyncpg
import grpc
import pytest
from relaypost import AsyncClient, OtpNotVerifiedError, RelaypostError

from tests.e2e.gateway import gateway

HELD = 8
"""Two with a connection each, and six in the queue."""
PATIENT = {"RELAYPOST_DATABASE_REPORT_SECONDS": "50"}


@asynccontextmanager
async def suppressions_locked(url: str) -> AsyncIterator[None]:
    """Has every listing of the suppression list wait; nothing else that callers ask for reads the table."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE relaypost.suppressions IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def refusal(call: Awaitable[object]) -> RelaypostError:
    with pytest.raises(RelaypostError) as caught:
        await call
    return caught.value


async def listed(pages: AsyncIterator[object]) -> int:
    return len([item async for item in pages])


async def test_slow_reports_delay_no_caller_and_are_bounded(bundled_database: str) -> None:
    async with gateway(PATIENT, database=bundled_database) as running, AsyncClient(running.grpc) as client:
        async with suppressions_locked(bundled_database):
            reports: list[asyncio.Future[int]] = [
                asyncio.ensure_future(listed(client.list_suppressions(timeout=50))) for _ in range(HELD + 4)
            ]
            refused: set[asyncio.Future[int]] = set()
            async with asyncio.timeout(20):
                while len(refused) < 4:
                    refused, held = await asyncio.wait(reports, timeout=0.05)
            assert len(held) == HELD
            for error in [await refusal(task) for task in refused]:
                assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_REPORTS")
                assert error.retry_after == 5
            assert (await refusal(listed(client.list_messages()))).reason == "TOO_MANY_REPORTS"
            async with asyncio.timeout(10):
                sent = await client.send_otp(phone="+14155550123", purpose="sign_in")
                with pytest.raises(OtpNotVerifiedError):
                    await client.verify_otp(sent.otp_id, "not a code")
                assert (await client.enqueue_sms(to="+14155550123", text="Hi")).message_id
                assert (await client.send_sms(to="+14155550123", text="Hi", request_id="r-1")).message_id
            assert not any(task.done() for task in held)
        await asyncio.gather(*held)
        await listed(client.list_messages())


async def test_a_report_that_takes_too_long_says_so(bundled_database: str) -> None:
    soon = {"RELAYPOST_DATABASE_REPORT_SECONDS": "1"}
    async with gateway(soon, database=bundled_database) as running, AsyncClient(running.grpc) as client:
        async with suppressions_locked(bundled_database):
            error = await refusal(listed(client.list_suppressions(timeout=30)))
        assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REPORT_TOO_SLOW")
        await listed(client.list_suppressions())
