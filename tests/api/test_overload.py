"""Calls that come faster than the gateway takes them on."""

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.api.conftest import LIMITS, Serve

CALLS = 2 * LIMITS.pending_calls
MOST_ACCEPTED = LIMITS.pending_calls * 3 // 2


async def test_the_line_of_calls_is_bounded_and_the_gateway_goes_on(serve: Serve) -> None:
    """While the event loop takes no call on, the transport keeps so many and refuses the others without Python."""
    served, refused = await serve(), threading.Semaphore(0)

    def call(_: int) -> str:
        try:
            stub.Check(health_pb2.HealthCheckRequest(), timeout=60)
        except grpc.RpcError as error:
            refused.release()
            return str(error.code())
        return "accepted"

    with grpc.insecure_channel(served.target) as channel, ThreadPoolExecutor(CALLS) as callers:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        assert await asyncio.to_thread(call, 0) == "accepted"
        waiting = callers.map(call, range(CALLS))
        for _ in range(CALLS - MOST_ACCEPTED):  # This holds the event loop up.
            assert refused.acquire(timeout=60)
        answers = Counter(await asyncio.to_thread(list, waiting))
        assert set(answers) == {"accepted", "StatusCode.CANCELLED"}
        assert 0 < answers["accepted"] <= MOST_ACCEPTED
        assert await asyncio.to_thread(call, 0) == "accepted"
