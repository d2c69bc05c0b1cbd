"""How a gateway stops: in which order, and how long each part may take. From top to bottom:

1. At once: readiness and health say no, and workers claim nothing more from the queue.
2. `delay` seconds of service, while load balancers look elsewhere.
3. Calls and jobs in flight come to their end, together, under one `grace`. New calls are refused and streams end.
4. ANSWER_SECONDS before the grace is over, attempts that still run are cut off: each is recorded as unconfirmed, no
   other provider is asked, and its caller is answered. Calls without an answer at the end of the grace get
   SHUTTING_DOWN.
5. The phases of `Phase`, one after the other.

One deadline holds for all steps: a part that takes too long is cancelled, and later phases still have the time that is
reserved for them. `hurry`, for a second signal, ends steps 2 and 3 at once.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection
from enum import IntEnum
from typing import Any, Protocol

import structlog

AT_ONCE_SECONDS = 0.5
ANSWER_SECONDS = 2.0
"""Seconds at the end of the grace in which thousands of attempts that were cut off are recorded and answered."""
LAST_WORD_SECONDS = 0.3
"""Seconds of ANSWER_SECONDS in which cancelled calls send their status."""
CANCELLED_SECONDS = 0.1
"""Seconds for a cancelled part to end."""
LONGEST_PHASE = 3.0
"""Upper bound of a phase, in seconds, however far the deadline is."""

log = structlog.get_logger("relaypost")

Stop = Callable[[], Awaitable[None]]


class Phase(IntEnum):
    """The order in which parts stop once no call is in flight. The parts of a phase stop together."""

    BACKGROUND = 1
    """Background tasks, which use the connections and the log."""
    CONNECTIONS = 2
    """To providers, to the queue's engine, and the HTTP side."""
    RECORDS = 3
    """Waiting records go to the database or to the spool."""
    TELEMETRY = 4
    """The last spans are exported."""
    BUNDLED_DATABASE = 5
    """Has no time limit, because no phase follows it."""


KEPT_BACK = {Phase.BACKGROUND: 0.2, Phase.CONNECTIONS: 0.2, Phase.RECORDS: 0.8, Phase.TELEMETRY: 0.3}
"""Seconds that each phase has, however long those before it take."""


class InFlight(Protocol):
    """Work that a shutdown lets come to its end."""

    async def drain(self) -> None:
        """Accepts no new work and waits for the rest. On cancellation, ends the rest."""
        ...

    def cut_off(self) -> None:
        """Ends running attempts, so that they are recorded and answered within ANSWER_SECONDS."""
        ...


class Shutdown:
    """The parts that were started, and how each is stopped."""

    def __init__(self) -> None:
        self._at_once: list[Stop] = []
        self._in_flight: list[InFlight] = []
        self._parts: dict[Phase, list[Stop]] = defaultdict(list)
        self._hurried = asyncio.Event()

    def at_once(self, stop: Stop) -> None:
        """Calls `stop` when the shutdown begins. It must not wait for anything outside the process."""
        self._at_once.append(stop)

    def in_flight(self, work: InFlight) -> None:
        """Waits for `work` under the grace."""
        self._in_flight.append(work)

    def then(self, phase: Phase, stop: Stop) -> None:
        """Calls `stop` in the phase. Exceptions are logged."""
        self._parts[phase].append(stop)

    def hurry(self) -> None:
        """Ends the delay and the grace."""
        self._hurried.set()

    async def run(self, *, delay: float, grace: float) -> None:
        """Stops everything, within `delay` and `grace` and two seconds, the bundled database's own end aside."""
        end = asyncio.get_running_loop().time() + delay + grace + sum(KEPT_BACK.values())
        turning = [asyncio.ensure_future(stop()) for stop in self._at_once]
        await _end(turning, AT_ONCE_SECONDS)
        _report(turning)
        await self._pause(delay)
        await self._drain(grace)
        for phase in Phase:
            await self._stop(phase, end)

    async def _pause(self, seconds: float) -> None:
        hurried = asyncio.create_task(self._hurried.wait())
        await asyncio.wait([hurried], timeout=seconds)
        hurried.cancel()

    async def _drain(self, grace: float) -> None:
        draining = [asyncio.create_task(work.drain()) for work in self._in_flight]
        if not draining:
            return
        ended: asyncio.Future[Any] = asyncio.gather(*draining, return_exceptions=True)
        hurried: asyncio.Future[Any] = asyncio.create_task(self._hurried.wait())
        attempts = max(grace - ANSWER_SECONDS, grace / 2)
        await asyncio.wait([ended, hurried], timeout=attempts, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not ended.done():
            for work in self._in_flight:
                work.cut_off()
        await _end(draining, ANSWER_SECONDS - LAST_WORD_SECONDS, LAST_WORD_SECONDS)
        _report(draining)

    async def _stop(self, phase: Phase, end: float) -> None:
        kept_back = sum(seconds for later, seconds in KEPT_BACK.items() if later > phase)
        left = end - kept_back - asyncio.get_running_loop().time()
        stopping = [asyncio.ensure_future(stop()) for stop in self._parts[phase]]
        if phase is Phase.BUNDLED_DATABASE:
            await asyncio.gather(*stopping, return_exceptions=True)
        elif not await _end(stopping, min(max(left, KEPT_BACK[phase]), LONGEST_PHASE)):
            log.warning("not stopped in time", phase=phase.name.lower())
        _report(stopping)


async def _end(tasks: Collection["asyncio.Future[None]"], seconds: float, cancelled: float = CANCELLED_SECONDS) -> bool:
    """Waits for the tasks; cancels the late ones and waits `cancelled` seconds more. Returns whether none was late."""
    if not tasks:
        return True
    _, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=cancelled)
    return not late


def _report(tasks: Collection["asyncio.Future[None]"]) -> None:
    """Logs the exceptions of parts that failed to stop."""
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            log.error("part failed to stop", exc_info=error)
