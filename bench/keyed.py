"""What a request_id costs: the same calls with and without one, by the same client."""

import asyncio
import itertools
import statistics
import time
from dataclasses import dataclass

from relaypost import AsyncClient

from bench.load import request
from bench.processes import Server

_numbers = itertools.count()


@dataclass(frozen=True)
class Cost:
    """Microseconds of the server's CPU time for each call at 64 in flight; milliseconds of a lone call, median."""

    cpu: float
    latency: float


def measure(server: Server, calls: int, rounds: int) -> tuple[Cost, Cost]:
    """Without and with a request_id, in turn; medians."""
    return asyncio.run(_measure(server, calls, rounds))


async def _measure(server: Server, calls: int, rounds: int) -> tuple[Cost, Cost]:
    found: dict[bool, list[Cost]] = {False: [], True: []}
    async with AsyncClient(f"127.0.0.1:{server.port}") as client:
        for _ in range(rounds):
            for keyed in (False, True):
                cpu, latency = await _busy(client, server, calls, keyed), await _alone(client, calls // 5, keyed)
                found[keyed].append(Cost(cpu, latency))
    plain, keyed_cost = (
        Cost(statistics.median(c.cpu for c in costs), statistics.median(c.latency for c in costs))
        for costs in found.values()
    )
    return plain, keyed_cost


async def _busy(client: AsyncClient, server: Server, calls: int, keyed: bool) -> float:
    async def worker() -> None:
        for _ in range(calls // 64):
            await _call(client, keyed)

    before = server.cpu_seconds()
    await asyncio.gather(*(worker() for _ in range(64)))
    return (server.cpu_seconds() - before) / (calls // 64 * 64) * 1e6


async def _alone(client: AsyncClient, calls: int, keyed: bool) -> float:
    durations = []
    for _ in range(calls):
        began = time.perf_counter()
        await _call(client, keyed)
        durations.append((time.perf_counter() - began) * 1000)
    return statistics.median(durations)


async def _call(client: AsyncClient, keyed: bool) -> None:
    made = request()
    if keyed:
        made.request_id = f"{time.time_ns()}-{next(_numbers)}"
    await client.stub.SendEmail(made, timeout=10.0)
