"""How much later a message arrives than if the provider were called directly."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from relaypost import AsyncClient

from bench.load import request
from relaypost_server.providers._attempt_time import AttemptTime
from relaypost_server.providers._http import HttpClient
from relaypost_server.providers._settings import HttpsProviderSettings


def measure(gateway_port: int, stub_port: int, calls: int, in_flight: int) -> tuple[list[float], list[float]]:
    """The sorted durations of direct calls and of calls through the gateway, in milliseconds."""
    return asyncio.run(_measure(gateway_port, stub_port, calls, in_flight))


async def _measure(gateway_port: int, stub_port: int, calls: int, in_flight: int) -> tuple[list[float], list[float]]:
    direct = HttpClient(f"http://127.0.0.1:{stub_port}/v2/email/outbound-emails", HttpsProviderSettings())
    async with AsyncClient(f"127.0.0.1:{gateway_port}") as client:
        made = request()
        straight = await _durations(lambda: direct.post("", b"{}", AttemptTime(10.0)), calls, in_flight)
        through = await _durations(lambda: client.stub.SendEmail(made, timeout=10.0), calls, in_flight)
    await direct.close()
    return straight, through


async def _durations(call: Callable[[], Awaitable[object]], calls: int, in_flight: int) -> list[float]:
    found: list[float] = []

    async def worker() -> None:
        for _ in range(calls // in_flight):
            began = time.perf_counter()
            await call()
            found.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return sorted(found[calls // 10 :])
