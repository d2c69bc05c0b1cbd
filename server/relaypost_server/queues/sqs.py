"""Amazon SQS: one standard queue for each lane, with credentials from botocore's chain.

SQS hides a message from others for as long as whoever received it says, and at
most for 12 hours (docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/
sqs-visibility-timeout.html). Each call is charged for, so calls carry as many
messages as they can.
"""

import asyncio
import contextlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import structlog

from relaypost_server.core.background import Task
from relaypost_server.core.queue import Lane, Pointer
from relaypost_server.core.queue_ports import QueueUnavailableError, Taken
from relaypost_server.queues import _pointers
from relaypost_server.queues._sqs_client import CALL_SECONDS, LONGEST_POLL, SqsClient
from relaypost_server.queues._sqs_lane import AT_ONCE, BATCH, SqsLane
from relaypost_server.queues._sqs_queues import SqsQueues
from relaypost_server.queues._urls import SqsAddress

VISIBILITY_SECONDS = 60
"""A worker that has not been heard of for so long has lost its messages."""
HEARTBEAT_SECONDS = 20.0
SHORT_PAUSE = 0.2
"""Between two looks where less than a second is left: SQS waits for whole seconds."""
CLOSE_SECONDS = 3.0

log = structlog.get_logger("relaypost.queue")


class SqsQueue:
    """A `core.queue_ports.Queue`."""

    def __init__(
        self,
        address: SqsAddress,
        *,
        endpoint: str | None = None,
        visibility: int = VISIBILITY_SECONDS,
        heartbeat: float = HEARTBEAT_SECONDS,
        call: float = CALL_SECONDS,
    ) -> None:
        """`endpoint`: instead of AWS's own for the region. `call`: seconds for one call."""
        client = SqsClient(address.region, endpoint, seconds=call)
        self._queues = SqsQueues(client, address.prefix, visibility)
        self._lanes = {lane: SqsLane(client, self._queues, lane) for lane in Lane}
        self._visibility = visibility
        self._heartbeat = heartbeat
        self._in_hand: dict[str, Lane] = {}
        """By receipt handle."""
        self._late: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises SettingsError where AWS refuses the gateway."""
        try:
            await self._queues.check()
        except QueueUnavailableError as error:  # It is tried again with each question.
            log.warning("queue out of reach", error=str(error))

    def tasks(self) -> Sequence[Task]:
        pause = self._heartbeat
        return [Task(name="queue_heartbeat", round=self._beat, pause=pause, first=pause)]

    async def put(self, pointers: Sequence[Pointer]) -> None:
        bodies: dict[Lane, list[str]] = defaultdict(list)
        for pointer in pointers:
            bodies[pointer.lane].append(str(pointer))
        for lane, found in bodies.items():
            await self._lanes[lane].send(found)

    async def take(self, lane: Lane, *, most: int, wait: float) -> Sequence[Taken]:
        now = asyncio.get_running_loop().time
        end = now() + wait
        while True:
            seconds = max(0, min(round(end - now()), LONGEST_POLL))
            taken = await self._received(lane, most, seconds)
            left = end - now()
            if taken or left <= 0:
                return taken
            if not seconds:
                await asyncio.sleep(min(left, SHORT_PAUSE))

    async def done(self, taken: Sequence[Taken]) -> None:
        self._let_go(taken)  # Those that stay come again, and lead to nothing.
        handles = _by_lane({one.handle: one.pointer.lane for one in taken})
        await asyncio.gather(*(self._lanes[lane].delete(found) for lane, found in handles.items()))

    async def give_back(self, taken: Sequence[Taken]) -> None:
        self._let_go(taken)  # Whatever becomes of the call, they come again.
        await self._give_back({one.handle: one.pointer.lane for one in taken})

    async def _give_back(self, held: Mapping[str, Lane]) -> None:
        for lane, handles in _by_lane(held).items():
            await self._lanes[lane].hide(handles, 0)

    async def close(self) -> None:
        """Gives back what is in hand."""
        with contextlib.suppress(QueueUnavailableError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._give_back(dict(self._in_hand))
        if self._late:
            _, later = await asyncio.wait(self._late, timeout=CLOSE_SECONDS)
            for late in later:  # What they bring is seen by others when its time is over.
                late.cancel()

    def _let_go(self, taken: Sequence[Taken]) -> None:
        for one in taken:
            self._in_hand.pop(one.handle, None)

    async def _received(self, lane: Lane, most: int, seconds: int) -> Sequence[Taken]:
        """A call cannot be called off: what it brings to somebody who has gone is given back."""
        receiving = asyncio.create_task(self._receive(lane, most, seconds))
        try:
            return await asyncio.shield(receiving)
        except asyncio.CancelledError:
            late = asyncio.create_task(self._return(receiving))
            self._late.add(late)
            late.add_done_callback(self._late.discard)
            raise

    async def _return(self, receiving: "asyncio.Task[Sequence[Taken]]") -> None:
        with contextlib.suppress(QueueUnavailableError):
            await self.give_back(await receiving)

    async def _receive(self, lane: Lane, most: int, seconds: int) -> Sequence[Taken]:
        """Waits with one call; where that brings as much as it can, others fetch more."""
        taken = await self._receive_some(lane, most, seconds)
        left = most - BATCH
        if len(taken) < BATCH or left <= 0:
            return taken
        calls = (self._receive_some(lane, left - BATCH * n, 0) for n in range(min(AT_ONCE, math.ceil(left / BATCH))))
        more = await asyncio.gather(*calls, return_exceptions=True)
        return [*taken, *(one for found in more if not isinstance(found, BaseException) for one in found)]

    async def _receive_some(self, lane: Lane, most: int, seconds: int) -> Sequence[Taken]:
        messages = await self._lanes[lane].receive(most, seconds=seconds, hidden=self._visibility)
        read = [(handle, _pointers.read(body.encode(), lane)) for handle, body in messages]
        taken = [Taken(pointer, handle) for handle, pointer in read if pointer is not None]
        self._in_hand |= {one.handle: lane for one in taken}
        with contextlib.suppress(QueueUnavailableError):  # What is not thrown away comes again.
            await self._lanes[lane].delete([handle for handle, pointer in read if pointer is None])
        return taken

    async def _beat(self) -> None:
        try:
            for lane, handles in _by_lane(self._in_hand).items():
                await self._lanes[lane].hide(handles, self._visibility)
        except QueueUnavailableError as error:
            log.warning("queue out of reach", error=str(error))


def _by_lane(in_hand: Mapping[str, Lane]) -> Mapping[Lane, list[str]]:
    """Receipt handles."""
    handles: dict[Lane, list[str]] = defaultdict(list)
    for handle, lane in in_hand.items():
        handles[lane].append(handle)
    return handles
