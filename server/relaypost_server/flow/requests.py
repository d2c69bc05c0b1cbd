"""Requests with a `request_id`: claimed before they are sent, and on record before each attempt."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NoReturn, Protocol

import structlog

from relaypost_server.core.background import Task
from relaypost_server.core.failover import Attempt, SkipReason
from relaypost_server.core.idempotency import (
    Begun,
    Claim,
    InProgress,
    KnownRequest,
    Replay,
    RequestKey,
    Reused,
    Started,
    is_kept,
    settle,
)
from relaypost_server.core.ports import LogUnavailableError, RequestLog
from relaypost_server.core.record import MessageRecord
from relaypost_server.flow.background import Background
from relaypost_server.flow.clock import Clock
from relaypost_server.telemetry.metrics import Metrics

SWEEP_SECONDS = 5.0
"""How often requests are looked for whose gateway died."""
SWEPT_AT_ONCE = 500

log = structlog.get_logger("relaypost.requests")


class RequestReusedError(Exception):
    """The request_id belongs to a request with other content."""


class RequestInProgressError(Exception):
    """A request with the same request_id is running, here or elsewhere."""


class Journal(Protocol):
    """What has to be on record before a provider is asked."""

    async def starting(self, provider: str, attempts: Sequence[Attempt]) -> SkipReason | None:
        """Puts on record that the provider is about to be asked, after these attempts; why not, where it fails."""
        ...


class ClaimedRequest:
    """A request that is this gateway's to send, and the journal of its walk."""

    def __init__(
        self, requests: RequestLog, begun: Begun, *, first_provider: str, held_since: float, terms: "Terms"
    ) -> None:
        """`first_provider` is on record already; the lease has held since the monotonic time `held_since`."""
        self.record = begun.record
        """As it was before the walk, with the attempts of earlier walks."""
        self.taken_over = False
        """Another gateway holds the request: what becomes of it is no longer for this one to say."""
        self._requests = requests
        self._fence = begun.fence
        self._first_provider = first_provider
        self._held_since = held_since
        self._terms = terms

    async def starting(self, provider: str, attempts: Sequence[Attempt]) -> SkipReason | None:
        on_record, self._first_provider = self._first_provider, ""
        if on_record != provider or attempts:
            obstacle = await self._put_on_record(provider, attempts)
            if obstacle is not None:
                return obstacle
        # A process that was stopped in between may have lost the lease without noticing.
        if self._terms.clock.monotonic() - self._held_since < self._terms.lease / 2:
            return None
        self.taken_over = True
        return SkipReason.TAKEN_OVER

    async def finish(self, record: MessageRecord, *, kept: bool) -> None:
        """Puts the end of the walk on record and gives the claim back. `kept`: it is final. Never raises."""
        await self._requests.finish(record, fence=self._fence, kept=kept)

    async def _put_on_record(self, provider: str, attempts: Sequence[Attempt]) -> SkipReason | None:
        asked_at = self._terms.clock.monotonic()
        record = replace(self.record, attempts=(*self.record.attempts, *attempts))
        started = Started(provider=provider, time=self._terms.clock.wall())
        try:
            held = await self._requests.starting(record, started, fence=self._fence)
        except LogUnavailableError:
            if not self._terms.without_log:
                return SkipReason.NOT_ON_RECORD
            held = True  # As far as anybody knows.
        self._held_since = asked_at
        self.taken_over = not held
        return None if held else SkipReason.TAKEN_OVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms requests are claimed. `lease` is in seconds."""

    lease: float
    without_log: bool
    """Whether to send what cannot be proven to be new while the database is away."""
    clock: Clock


class _Running:
    """A request that this process is at, and what the log said about it; None where it said nothing."""

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.answer: asyncio.Future[Begun | Replay | InProgress | Reused | None]
        self.answer = asyncio.get_running_loop().create_future()


class Requests:
    """The requests that run in this process, before the log that all replicas share."""

    def __init__(self, requests: RequestLog, terms: Terms, metrics: Metrics) -> None:
        self._requests = requests
        self._terms = terms
        self._metrics = metrics
        self._running: dict[RequestKey, _Running] = {}

    @property
    def without_log(self) -> bool:
        return self._terms.without_log

    async def replay(self, key: RequestKey, fingerprint: str) -> Replay | None:
        """The answer that another call of this process is just finding; None where no other has this key.

        However many calls repeat a request at once, one looks. Raises
        RequestInProgressError or RequestReusedError.
        """
        other = self._running.get(key)
        if other is None:
            return None
        if other.fingerprint != fingerprint:
            self._refuse(Reused())
        answer = await asyncio.shield(other.answer)
        if not isinstance(answer, Replay):  # It is being sent, or the log did not say: ask again.
            self._refuse(InProgress())
        self._metrics.request("replayed")
        return answer

    @contextmanager
    def running(self, key: RequestKey, fingerprint: str) -> Iterator[None]:
        """Holds the key within this process, right after `replay` found that no other call does."""
        self._running[key] = _Running(fingerprint)
        try:
            yield
        finally:
            del self._running[key]

    async def begin(self, claim: Claim) -> ClaimedRequest | Replay:
        """Claims the request, or finds its answer.

        Raises RequestInProgressError, RequestReusedError or LogUnavailableError.
        """
        asked_at = self._terms.clock.monotonic()
        answer = None
        try:
            answer = await self._requests.begin(claim)
        finally:
            self._running[claim.key].answer.set_result(answer)
        if isinstance(answer, InProgress | Reused):
            self._refuse(answer)
        self._metrics.request("replayed" if isinstance(answer, Replay) else "begun")
        if isinstance(answer, Replay):
            return answer
        # Only a new claim is put on record together with its first attempt.
        first_provider = claim.first_provider if answer.record is claim.record else ""
        return ClaimedRequest(
            self._requests, answer, first_provider=first_provider, held_since=asked_at, terms=self._terms
        )

    async def record_unproven(self, record: MessageRecord, *, kept: bool) -> None:
        """Records a message that was sent although the log did not answer the claim. Never raises."""
        await self._requests.record_unproven(record, kept=kept)

    def _refuse(self, why: InProgress | Reused) -> NoReturn:
        if isinstance(why, Reused):
            self._metrics.request("reused")
            raise RequestReusedError
        self._metrics.request("in_progress")
        raise RequestInProgressError


class Recovery(Background):
    """Settles the requests of gateways that died, and forgets old ones."""

    def __init__(self, requests: RequestLog, *, retention: float, clock: Clock) -> None:
        """`retention`: seconds for which a finished request is remembered."""
        self._requests = requests
        self._retention = retention
        self._clock = clock

    async def sweep(self) -> int:
        """The number of requests that were settled. Raises LogUnavailableError."""
        abandoned = await self._requests.abandoned(SWEPT_AT_ONCE)
        settled = await asyncio.gather(*(self._settle(known) for known in abandoned), return_exceptions=True)
        await self._requests.forget(older_than=self._retention)
        for failure in settled:
            if failure is not None:  # Raised only after all the others were settled.
                raise failure
        return len(abandoned)

    def tasks(self) -> Sequence[Task]:
        return [Task(name="recovery", round=self._round, pause=SWEEP_SECONDS)]

    async def _round(self) -> float | None:
        return 0.0 if await self.sweep() == SWEPT_AT_ONCE else None

    async def _settle(self, known: KnownRequest) -> None:
        record = settle(known, self._clock.wall())
        kept = is_kept(record, cut_short=True)
        settled = await self._requests.settle(record, fence=known.fence, kept=kept, waiting=known.waiting)
        if settled:
            log.warning("abandoned request settled", message_id=record.id, state=record.state.value)
