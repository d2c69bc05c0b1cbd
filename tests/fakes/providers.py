"""Providers, a log and a clock that do as they are told."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from relaypost_server.core.advice import Advice
from relaypost_server.core.breaker import Breaker, BreakerPolicy
from relaypost_server.core.budgets import Budgets
from relaypost_server.core.cost_ports import CostLog
from relaypost_server.core.failover import Attempt
from relaypost_server.core.health import MessageLogHealth
from relaypost_server.core.idempotency import Begun, Claim, InProgress, KnownRequest, Replay, Reused, Started
from relaypost_server.core.message import Channel, MessageState
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.ports import Finding, LogUnavailableError, MessageQuery
from relaypost_server.core.record import MessageRecord
from relaypost_server.core.retry_budget import RetryBudget
from relaypost_server.core.silence import News, OtpSend
from relaypost_server.core.tariffs import Tariff
from relaypost_server.flow.budgets import BudgetKeeper
from relaypost_server.flow.chain import Chain, Link, nobody
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.dispatch import Caller, Dispatcher, Limits
from relaypost_server.flow.requests import Requests, Terms
from relaypost_server.flow.second_send import SecondSend
from relaypost_server.flow.send import Sender
from relaypost_server.flow.silence import Room, Silences
from relaypost_server.flow.suppressions import Screen
from relaypost_server.telemetry.metrics import Metrics
from relaypost_server.telemetry.tracing import Tracing
from tests.fakes.costs import FakeCosts

ACCEPTED = Outcome(kind=Kind.ACCEPTED, provider_message_id="id-1")

Answer = Outcome | Exception | Callable[[Any, float], Awaitable[Outcome]]


@dataclass
class FakeProvider:
    """Gives its answers in turn, the last one for ever."""

    name: str
    answers: list[Answer] = field(default_factory=lambda: [ACCEPTED])
    channel: Channel = Channel.EMAIL
    received: list[Any] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)

    async def send(self, message: Any, *, timeout: float) -> Outcome:
        self.received.append(message)
        self.timeouts.append(timeout)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Outcome):
            return answer
        if isinstance(answer, Exception):
            raise answer
        return await answer(message, timeout)

    async def check(self) -> Sequence[Finding]:
        return []

    async def close(self) -> None: ...


def failing(kind: Kind, **outcome: Any) -> Outcome:
    return Outcome(kind=kind, detail=kind.value, **outcome)


async def hang(message: Any, timeout: float) -> Outcome:
    """As a provider does whose peer says nothing."""
    await asyncio.sleep(timeout)
    return failing(Kind.UNCONFIRMED, given_up_after=timeout)


@dataclass
class FakeClock:
    """Stands still until it is turned."""

    now: float = 1000.0
    wall: datetime = datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC)

    def turn(self, seconds: float) -> None:
        self.now += seconds
        self.wall += timedelta(seconds=seconds)

    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.now, wall=lambda: self.wall)


@dataclass
class FakeLog:
    """Keeps records in a list; `available` may be taken away."""

    records: list[MessageRecord] = field(default_factory=list)
    available: bool = True

    async def append(self, record: MessageRecord) -> bool:
        self.records.append(record)
        return self.available

    async def get(self, message_id: str) -> MessageRecord | None:
        self._check()
        return next((r for r in self.records if r.id == message_id), None)

    async def find(self, provider: str, provider_message_id: str) -> MessageRecord | None:
        self._check()
        known = provider, provider_message_id
        found = [r for r in self.records if known in {(a.provider, a.outcome.provider_message_id) for a in r.attempts}]
        return max(found, key=lambda r: r.id, default=None)

    async def versions(self, message_ids: Collection[str]) -> Mapping[str, object]:
        self._check()
        return {r.id: hash(repr(r)) for r in self.records if r.id in message_ids}

    async def list(self, query: MessageQuery) -> Sequence[MessageRecord]:
        self._check()
        found = [r for r in self.records if query.before is None or r.id < query.before]
        return sorted(found, key=lambda r: r.id, reverse=True)[: query.page_size]

    async def resolve(self, message_id: str, *, sent: bool) -> MessageRecord | None:
        found = await self.get(message_id)
        if found is None or found.state is not MessageState.UNCONFIRMED:
            return None
        resolved = replace(found, state=MessageState.SENT if sent else MessageState.FAILED)
        self.records[self.records.index(found)] = resolved
        return resolved

    def health(self) -> MessageLogHealth:
        return MessageLogHealth(available=self.available, waiting=0)

    def _check(self) -> None:
        if not self.available:
            raise LogUnavailableError


@dataclass
class FakeRequests:
    """Answers claims as it is told, grants them by default, and keeps what it is given."""

    answers: list[Begun | Replay | InProgress | Reused | Exception] = field(default_factory=list)
    held: bool | Exception = True
    """What each further write is answered."""
    claims: list[Claim] = field(default_factory=list)
    started: list[tuple[tuple[Attempt, ...], str, int]] = field(default_factory=list)
    finished: list[tuple[MessageRecord, int, bool]] = field(default_factory=list)
    unproven: list[tuple[MessageRecord, bool]] = field(default_factory=list)

    async def begin(self, claim: Claim) -> Begun | Replay | InProgress | Reused:
        self.claims.append(claim)
        answer = self.answers.pop(0) if self.answers else Begun(fence=1, record=claim.record)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def starting(self, record: MessageRecord, started: Started, *, fence: int) -> bool:
        self.started.append((record.attempts, started.provider, fence))
        if isinstance(self.held, Exception):
            raise self.held
        return self.held

    async def finish(self, record: MessageRecord, *, fence: int, kept: bool) -> bool:
        self.finished.append((record, fence, kept))
        return True

    async def abandoned(self, limit: int) -> Sequence[KnownRequest]:
        return []

    async def record_unproven(self, record: MessageRecord, *, kept: bool) -> bool:
        self.unproven.append((record, kept))
        return True

    async def settle(self, record: MessageRecord, *, fence: int, kept: bool, waiting: bool = False) -> bool:
        return True

    async def forget(self, *, older_than: float) -> None: ...


@dataclass
class FakeSilences:
    """A `SilenceLog` that knows what it is told, and keeps what is claimed and finished."""

    known: dict[str, News] = field(default_factory=dict)
    available: bool = True
    grants: bool = True
    claimed: list[tuple[str, str]] = field(default_factory=list)
    finished: list[tuple[str, tuple[Attempt, ...], str]] = field(default_factory=list)

    async def news(self, waiting: Mapping[str, OtpSend | None]) -> Mapping[str, News]:
        self._check()
        return {message_id: self.known.get(message_id, News()) for message_id in waiting}

    async def claim(
        self, record: MessageRecord, attempts: Sequence[Attempt], provider: str, otp: OtpSend | None, *, first: bool
    ) -> bool:
        self._check()
        self.claimed.append((record.id, provider))
        return self.grants

    async def finish(self, record: MessageRecord, attempts: Sequence[Attempt], *, sent_by: str) -> None:
        self._check()
        self.finished.append((record.id, tuple(attempts), sent_by))

    def _check(self) -> None:
        if not self.available:
            raise LogUnavailableError


@dataclass
class Rig:
    """One channel with fake providers, and everything that is measured about it."""

    providers: Sequence[FakeProvider]
    channel: Channel = Channel.EMAIL
    limits: Limits = field(default_factory=lambda: Limits(retry_pause=0.0))
    clock: FakeClock | None = None
    tracing: Tracing = field(default_factory=Tracing)
    retries: RetryBudget = field(default_factory=lambda: RetryBudget(0.0))
    policy: BreakerPolicy = field(default_factory=lambda: BreakerPolicy(jitter=0.0))
    log: FakeLog = field(default_factory=FakeLog)
    requests: FakeRequests = field(default_factory=FakeRequests)
    without_log: bool = False
    silence_log: Any = field(default_factory=FakeSilences)
    room: Room = field(default_factory=lambda: Room(messages=100, bytes=1_000_000))
    reporting: tuple[str, ...] = ("a",)
    metrics: Metrics = field(default_factory=Metrics)
    screen: Screen | None = None
    budgets: Budgets | None = None
    costs: CostLog = field(default_factory=FakeCosts)
    tariffs: Sequence[Tariff] = ()
    tell: Callable[[Advice], None] = nobody

    def __post_init__(self) -> None:
        clock = self.clock.clock() if self.clock else Clock()
        links: list[Link[Any]] = [
            Link(
                provider,
                priority=position,
                timeout=10.0,
                breaker=Breaker(self.policy),
                window=30.0,
                metrics=self.metrics,
                clock=clock,
                tell=self.tell,
            )
            for position, provider in enumerate(self.providers, start=1)
        ]
        self.keeper = self._keeper(clock)
        self.chain: Chain[Any] = Chain(self.channel, links, budgets=self.keeper)
        self.dispatcher: Dispatcher[Any] = Dispatcher(
            self.chain,
            limits=self.limits,
            retries=self.retries,
            tracing=self.tracing,
            clock=clock,
            budgets=self.keeper,
        )
        terms = Terms(lease=45.0, without_log=self.without_log, clock=clock)
        requests = Requests(self.requests, terms, self.metrics)
        self.silences = Silences(
            self.silence_log,
            SecondSend(self.silence_log, self.screen, limits=self.limits, clock=clock),
            reporting=self.reporting,
            room=self.room,
            metrics=self.metrics,
            clock=clock,
        )
        self.sender: Sender[Any] = Sender(
            self.dispatcher,
            self.log,
            requests,
            self.silences,
            limits=self.limits,
            metrics=self.metrics,
            clock=clock,
            screen=self.screen,
        )
        self._monotonic = clock.monotonic

    def _keeper(self, clock: Clock) -> BudgetKeeper | None:
        if self.budgets is None:
            return None
        return BudgetKeeper(
            self.budgets,
            self.costs,
            self.tariffs,
            refresh_seconds=60.0,
            on_record=lambda: self.log.available,
            metrics=self.metrics,
            clock=clock,
        )

    def caller(self, budget: float) -> Caller:
        """Somebody who waits for so many seconds."""
        now = self._monotonic()
        return Caller(began=now, end=now + budget)
