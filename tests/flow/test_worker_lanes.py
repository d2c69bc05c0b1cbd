"""Lanes of a worker that has been told to take nothing more."""

import asyncio
from typing import Any, cast

from relaypost_server.core.queue import Lane
from relaypost_server.flow.worker import Crew, Worker


class IdleQueue:
    """Holds nothing."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def take(self, lane: Lane, *, most: int, wait: float) -> list[Any]:
        self.asked.set()
        await asyncio.sleep(0.01)
        return []


async def test_a_lane_that_may_take_nothing_ends_at_once() -> None:
    """While load balancers look elsewhere, seconds pass before the worker is drained: its lanes must not spin."""
    queue, nothing = IdleQueue(), cast("Any", None)
    crew = Crew(
        queue=cast("Any", queue),
        store=nothing,
        requests=nothing,
        emails=nothing,
        texts=nothing,
        pacer=nothing,
        lease=60.0,
        metrics=nothing,
        clock=nothing,
    )
    worker = Worker(crew, {Lane.BULK: 1, Lane.OTP: 1})
    worker.start()
    lanes = [task for task in asyncio.all_tasks() if task.get_name().startswith("lane_")]
    try:
        await asyncio.wait_for(queue.asked.wait(), 10)
        await worker.stop_claiming()
        _, spinning = await asyncio.wait(lanes, timeout=10)
        assert (len(lanes), len(spinning)) == (2, 0)
    finally:
        await worker.drain()
