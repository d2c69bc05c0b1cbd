"""Sends what is queued: follows pointers, claims messages, walks their chains, decides what follows."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import structlog

from relaypost_server.core.background import Task
from relaypost_server.core.idempotency import Begun, still_in_doubt
from relaypost_server.core.message import Channel, Email, MessageState, Sms
from relaypost_server.core.ports import LogUnavailableError, RequestLog
from relaypost_server.core.queue import Dead, Death, Done, Job, Lane, Next, Pointer, after, on_record, state_of
from relaypost_server.core.queue_ports import Queue, QueueStore, QueueUnavailableError, Step, Taken
from relaypost_server.core.record import MessageRecord
from relaypost_server.flow.background import Background, BackgroundTasks
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.dispatch import Caller
from relaypost_server.flow.finished import Finished
from relaypost_server.flow.pacer import Pacer
from relaypost_server.flow.requests import ClaimedRequest, RequestInProgressError, Terms
from relaypost_server.flow.send import Sender, Sent
from relaypost_server.telemetry.metrics import Metrics

WALK_SECONDS = 25.0
"""For one walk of a chain, if that is within half a lease."""
WAIT_SECONDS = 1.0
"""For the next pointer of a lane."""
LAST_TAKE_SECONDS = 2 * WAIT_SECONDS
"""Seconds for a lane to end its wait for a pointer when the gateway stops."""
PAUSE_SECONDS = 1.0
"""After the engine or the database was out of reach."""

log = structlog.get_logger("relaypost.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Who does what for a worker."""

    queue: Queue
    store: QueueStore
    requests: RequestLog
    emails: Sender[Email]
    texts: Sender[Sms]
    pacer: Pacer
    lease: float
    """Seconds for which a worker that died holds a message."""
    metrics: Metrics
    clock: Clock


class Worker(Background):
    """Works at every lane, each with as many hands as it was given, so that no lane waits for another."""

    def __init__(self, crew: Crew, hands: Mapping[Lane, int]) -> None:
        """`hands`: messages at once."""
        self._crew = crew
        self._hands = hands
        self._finished = Finished(crew.queue)
        self._in_line: set[asyncio.Task[None]] = set()
        """Those that wait for their provider's pace."""
        self._callers: set[Caller] = set()
        """Of the walks that run."""
        self._stopped = asyncio.Event()
        self._jobs: dict[Lane, set[asyncio.Task[None]]] = {lane: set() for lane in hands}
        """The messages of each lane that are being sent; they outlive a round that fails."""

    def tasks(self) -> Sequence[Task]:
        return [
            Task(name=f"lane_{lane.value}", round=partial(self._round, lane, hands))
            for lane, hands in self._hands.items()
            if hands
        ]

    def start(self, registry: BackgroundTasks | None = None) -> None:
        registry = registry or BackgroundTasks()
        self._finished.start(registry)
        super().start(registry)

    async def stop_claiming(self) -> None:
        """Stops claiming at once, gives back waiting pointers, and begins no attempt."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        for lane in self.running:
            lane.finish()  # A lane that may take nothing has nothing to wait for: its rounds would follow at once.
        for job in self._in_line:
            job.cancel()
        for caller in self._callers:
            caller.stopping = True

    async def drain(self) -> None:
        """Waits for running attempts and their records. On cancellation, gives back the rest."""
        await self.stop_claiming()
        try:
            await asyncio.gather(*(lane.stop(grace=LAST_TAKE_SECONDS) for lane in self.running))
            if jobs := self._under_way():
                await asyncio.wait(jobs)
        finally:
            await super().stop()
            jobs = self._under_way()
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            await self._finished.stop()

    def cut_off(self) -> None:
        """Ends attempts that run, as unconfirmed: the message stays in the queue where it may be sent twice."""
        for caller in self._callers:
            caller.cut_off()

    def _under_way(self) -> set[asyncio.Task[None]]:
        return set[asyncio.Task[None]]().union(*self._jobs.values())

    async def _round(self, lane: Lane, hands: int) -> None:
        """Takes as many pointers as the lane has room for, and begins to follow them."""
        jobs = self._jobs[lane]
        if len(jobs) >= hands:
            await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        if self._stopped.is_set():
            return
        for taken in await self._take(lane, hands - len(jobs)):
            if self._stopped.is_set():  # Received while the lane stops.
                await self._give_back(taken)
                continue
            job = asyncio.create_task(self._follow(taken))
            self._in_line.add(job)
            jobs.add(job)
            job.add_done_callback(jobs.discard)
            job.add_done_callback(self._in_line.discard)

    async def _take(self, lane: Lane, most: int) -> "list[Taken]":
        try:
            return list(await self._crew.queue.take(lane, most=most, wait=WAIT_SECONDS)) if most > 0 else []
        except QueueUnavailableError as error:
            log.warning("queue out of reach", lane=lane.value, error=str(error))
            await asyncio.sleep(PAUSE_SECONDS)
            return []

    async def _follow(self, taken: Taken) -> None:
        """One pointer, to whatever end."""
        try:
            if await self._try(taken.pointer):
                self._finished.add(taken)
            else:
                await self._give_back(taken)
        except LogUnavailableError:
            await asyncio.sleep(PAUSE_SECONDS)
            await self._give_back(taken)
        except asyncio.CancelledError:
            await self._give_back(taken)
            raise
        except Exception:  # Its lease ends, and the sweep makes a pointer anew.
            log.exception("message cannot be worked at", message_id=taken.pointer.message_id)
            self._finished.add(taken)

    async def _give_back(self, taken: Taken) -> None:
        try:
            await self._crew.queue.give_back([taken])
        except QueueUnavailableError:
            log.warning("pointer comes again by itself", message_id=taken.pointer.message_id)

    async def _try(self, pointer: Pointer) -> bool:
        """Sends the message of a pointer. Returns whether the pointer is done with."""
        sender: Sender[Email] | Sender[Sms] = (
            self._crew.emails if pointer.channel is Channel.EMAIL else self._crew.texts
        )
        await self._crew.pacer.turn(sender.first_choice(), urgent=pointer.lane is Lane.OTP)
        self._in_line.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        if self._stopped.is_set():
            return False
        asked_at = self._crew.clock.monotonic()
        job = await self._crew.store.claim(pointer)
        if job is not None:  # Else sent, cancelled, or another worker's: then the sweep looks after it.
            await self._work_at(job, asked_at)
        return True

    async def _work_at(self, job: Job, asked_at: float) -> None:
        claimed = self._claimed(job, asked_at)
        try:
            sent = await self._send(job, claimed)
        except RequestInProgressError:
            return
        if sent is None:
            await self._bury(job, claimed)
            return
        elapsed = self._crew.clock.monotonic() - asked_at
        step = after(job, sent.record, sent.verdict, elapsed=elapsed, draw=random.random())  # noqa: S311 - spreads load
        record = replace(on_record(job, sent.record), state=state_of(sent.record, step))
        await self._settle(job, claimed, record, step)

    def _claimed(self, job: Job, asked_at: float) -> ClaimedRequest:
        terms = Terms(lease=self._crew.lease, without_log=False, clock=self._crew.clock)
        begun = Begun(fence=job.fence, record=replace(job.record, state=MessageState.SENDING))
        return ClaimedRequest(self._crew.requests, begun, first_provider="", held_since=asked_at, terms=terms)

    async def _send(self, job: Job, claimed: ClaimedRequest) -> Sent | None:
        """None where there is nothing to send any more. Raises RequestInProgressError."""
        if job.message is None or job.time_left <= 0:
            return None
        began = self._crew.clock.monotonic()
        end = began + min(WALK_SECONDS, self._crew.lease / 2)
        caller = Caller(began=began, end=end, stopping=self._stopped.is_set())
        self._callers.add(caller)
        try:
            if isinstance(job.message.content, Email):
                return await self._crew.emails.walk(job.message, caller, claimed)
            return await self._crew.texts.walk(job.message, caller, claimed)
        finally:
            self._callers.discard(caller)

    async def _bury(self, job: Job, claimed: ClaimedRequest) -> None:
        """The end of a message that is not tried any more."""
        doubtful = bool(still_in_doubt(job.record))
        state = MessageState.UNCONFIRMED if doubtful else MessageState.DEAD
        record = replace(job.record, state=state, update_time=self._crew.clock.wall())
        await self._settle(job, claimed, record, Dead(Death.EXPIRED if job.message else Death.UNREADABLE))

    async def _settle(self, job: Job, claimed: ClaimedRequest, record: MessageRecord, step: Next) -> None:
        settlement = Step(message_id=record.id, fence=job.fence, next=step)
        if isinstance(step, Dead):  # First, so that a crash in between leaves the message dead in the queue.
            await self._crew.store.settle(settlement)
            await claimed.finish(record, kept=False)
        else:
            await claimed.finish(record, kept=isinstance(step, Done))
            await self._crew.store.settle(settlement)
        self._crew.metrics.worked(job.lane, type(step).__name__.lower())
        if isinstance(step, Dead):
            log.warning("message given up", message_id=record.id, lane=job.lane.value, why=step.reason.value)
