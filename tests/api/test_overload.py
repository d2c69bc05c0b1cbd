"""Calls that come faster than the gateway takes them on."""

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.api.conftest import LIMITS, Serve

CALLS = 2 * LIMITS.pending_calls
MOST_ACCEPTED = LIMITS.pending_calls * 3 // 2


async def test_the_line_of_calls_is_bounded_and_the_gateway_goes_on(serve: Serve) -> None:
    """While the event loop takes no call on, the transport keeps so many and refuses the others without Python."""
    served, refused = await serve(), threading.Semaphore(0)

    def call(number: int) -> str:
        try:
            stubs[number % len(stubs)].Check(health_pb2.HealthCheckRequest(), timeout=60)
        except grpc.RpcError as error:
            refused.release()
            return str(error.code())
        return "accepted"

    with ExitStack() as stack:
        stubs = [_stub(stack, served.target) for _ in range(2)]
        callers = stack.enter_context(ThreadPoolExecutor(CALLS))
        assert await asyncio.to_thread(lambda: [call(0), call(1)]) == ["accepted", "accepted"]
        waiting = callers.map(call, range(CALLS))
        for _ in range(CALLS - MOST_ACCEPTED):  # This holds the event loop up.
            assert refused.acquire(timeout=60)
        answers = Counter(await asyncio.to_thread(list, waiting))
        assert set(answers) == {"accepted", "StatusCode.CANCELLED"}
        assert 0 < answers["accepted"] <= MOST_ACCEPTED
        assert await asyncio.to_thread(call, 0) == "accepted"


def _stub(stack: ExitStack, target: str) -> Any:
    """A client with a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    return health_pb2_grpc.HealthStub(stack.enter_context(grpc.insecure_channel(target, options=options)))
