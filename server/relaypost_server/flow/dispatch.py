"""Walks one chain for one message."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic

import structlog

from relaypost_server.core.breaker import Permit, Refusal
from relaypost_server.core.failover import (
    Attempt,
    Delivery,
    Finish,
    Skip,
    SkipReason,
    Try,
    Verdict,
    decide,
    is_final,
    judge,
    passed_over,
    still_to_reach,
)
from relaypost_server.core.message import Content, Message
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.retry_budget import RetryBudget
from relaypost_server.flow.budgets import BudgetKeeper
from relaypost_server.flow.chain import Chain, Link
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.requests import Journal
from relaypost_server.telemetry.tracing import Tracing, note_skip

log = structlog.get_logger("relaypost.dispatch")

_CUT_OFF = Outcome(kind=Kind.UNCONFIRMED, detail="cut off by the gateway's shutdown", neutral=True)
_NOT_ASKED = Outcome(kind=Kind.SKIPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The time that a walk may take; seconds."""

    default_deadline: float = 15.0
    """For callers that set none."""
    longest_deadline: float = 30.0
    reserve: float = 0.2
    """Kept back of the deadline for the log and the answer."""
    shortest_attempt: float = 1.0
    retry_pause: float = 0.1
    """Before a provider that was out of reach is asked once more."""

    def budget(self, time_left: float | None) -> float:
        """The seconds that attempts may take; 0 or less where there is no time."""
        deadline = self.default_deadline if time_left is None else min(time_left, self.longest_deadline)
        return deadline - self.reserve


@dataclass(slots=True, kw_only=True, eq=False)
class Caller:
    """Whoever waits for the answer, from `began` to `end` at most (monotonic seconds)."""

    began: float
    end: float
    gone: bool = False
    """They cancelled: finish the attempt that runs, and begin no other."""
    stopping: bool = False
    """The gateway is shutting down: begin no attempt."""
    attempt: "asyncio.Task[Any] | None" = None
    """The task that waits for a provider now."""

    def cut_off(self) -> None:
        """Ends the attempt that runs, as unconfirmed, and begins no other."""
        self.stopping = True
        if self.attempt is not None:
            self.attempt.cancel()


class Dispatcher(Generic[Content]):
    """Delivers the messages of one channel."""

    def __init__(
        self,
        chain: Chain[Content],
        *,
        limits: Limits,
        retries: RetryBudget,
        tracing: Tracing,
        clock: Clock,
        budgets: BudgetKeeper | None = None,
    ) -> None:
        """`budgets`: where there are any."""
        self.chain: Chain[Content] = chain
        self._limits = limits
        self._retries = retries
        self._tracing = tracing
        self._clock = clock
        self._budgets = budgets

    def first_choice(self, caller: str = "") -> str:
        """Who would be asked first now for this caller; "" where nobody would."""
        if self._refuses(caller):
            return ""
        refusals = self.chain.refusals(self._clock.monotonic())
        return next((c.provider for c in self.chain.candidates if c.provider not in refusals), "")

    async def deliver(
        self,
        message: Message[Content],
        *,
        caller: Caller,
        journal: Journal | None = None,
        in_doubt: tuple[Attempt, ...] = (),
    ) -> Delivery:
        """Asks one provider after the other until one takes the message or the caller's time is over.

        `journal`: puts each attempt on record before it is made, where that is wanted.
        `in_doubt`: attempts of earlier walks that may have sent the message.
        """
        attempts = list(in_doubt)
        self._retries.deposit()
        if self._refuses(message.caller):
            attempts.append(
                self._skip(Skip(provider=self.chain.candidates[0].provider, reason=SkipReason.CALLER_OVER_BUDGET))
            )
            return Delivery(attempts=tuple(attempts[len(in_doubt) :]), verdict=judge(attempts))
        try:
            verdict = await self._walk(message, attempts, caller, journal)
        except asyncio.CancelledError:  # The end of a shutdown's grace; what is known still has to be recorded.
            caller.stopping = True
            verdict = await self._walk(message, attempts, caller, journal)
        made = tuple(attempts[len(in_doubt) :])
        if self._budgets is not None:
            self._budgets.charge(message.caller, made)
        return Delivery(attempts=made, verdict=verdict)

    def _refuses(self, caller: str) -> bool:
        return self._budgets is not None and self._budgets.refuses(caller)

    async def _walk(
        self, message: Message[Content], attempts: list[Attempt], caller: Caller, journal: Journal | None
    ) -> Verdict:
        """Adds to the attempts until they are final."""
        while not (attempts and is_final(attempts[-1], message.guarantee)):
            now = self._clock.monotonic()
            step = decide(
                self.chain.candidates,
                attempts,
                refusals=self.chain.refusals(now),
                time_left=caller.end - now,
                shortest_attempt=self._limits.shortest_attempt,
                may_try_again=self._retries.available,
                abandoned=caller.gone,
                stopping=caller.stopping,
            )
            match step:
                case Finish(verdict=verdict):
                    return verdict
                case Skip():
                    attempts.append(self._skip(step))
                case Try():
                    if step.again:
                        self._retries.withdraw()
                        await asyncio.sleep(self._limits.retry_pause)
                        if caller.stopping:
                            continue
                    attempts.append(await self._attempt(step, message, attempts, caller, journal))
        return judge(attempts)

    def _skip(self, step: Skip) -> Attempt:
        link = self.chain[step.provider]
        wait = None if step.retry_at is None else max(0.0, step.retry_at - self._clock.monotonic())
        attempt = Attempt(
            provider=step.provider,
            outcome=Outcome(kind=Kind.SKIPPED, detail=step.reason.value, retry_after=wait),
            skipped=step.reason,
            circuit=link.state(self._clock.monotonic()),
            start_time=self._clock.wall(),
        )
        link.remember(attempt)
        note_skip(attempt)
        return attempt

    async def _attempt(
        self,
        step: Try,
        message: Message[Content],
        attempts: Sequence[Attempt],
        caller: Caller,
        journal: Journal | None,
    ) -> Attempt:
        link, now = self.chain[step.provider], self._clock.monotonic()
        permit = link.admit(now, timeout=step.timeout)
        if isinstance(permit, Refusal):  # The circuit opened during the pause before a second try.
            return self._skip(passed_over(step.provider, permit))
        if journal is not None:
            obstacle = await self._put_on_record(link, permit, attempts, caller, journal)
            if obstacle is not None:
                return self._skip(Skip(provider=step.provider, reason=obstacle))
        start_time, began = self._clock.wall(), self._clock.monotonic()
        span = self._tracing.begin_attempt(
            step.provider,
            channel=self.chain.channel,
            number=len(attempts) + 1,
            circuit=permit.circuit,
            message_id=message.id,
        )
        outcome = await self._call(link, permit, still_to_reach(message, attempts), step.timeout, began, caller)
        attempt = Attempt(
            provider=step.provider,
            outcome=outcome,
            skipped=SkipReason.NO_ROOM if outcome.kind is Kind.SKIPPED else None,
            circuit=permit.circuit,
            start_time=start_time,
            duration=self._clock.monotonic() - began,
        )
        link.remember(attempt)
        span.end(attempt)
        return attempt

    async def _put_on_record(
        self, link: Link[Content], permit: Permit, attempts: Sequence[Attempt], caller: Caller, journal: Journal
    ) -> SkipReason | None:
        """Writes ahead; where that fails, the permit goes back unused."""
        obstacle: SkipReason | None = SkipReason.NOT_ON_RECORD
        try:
            obstacle = await journal.starting(link.provider.name, attempts)
            if obstacle is None and caller.stopping:  # A shutdown began meanwhile; nothing was written yet.
                obstacle = SkipReason.SHUTTING_DOWN
        finally:
            if obstacle is not None:
                link.settle(permit, _NOT_ASKED)
        return obstacle

    async def _call(
        self,
        link: Link[Content],
        permit: Permit,
        message: Message[Content],
        timeout: float,
        began: float,
        caller: Caller,
    ) -> Outcome:
        """Asks the provider and settles the permit, whatever happens."""
        outcome = _CUT_OFF
        caller.attempt = task = asyncio.current_task()
        try:
            outcome = await link.provider.send(message, timeout=timeout)
        except asyncio.CancelledError:  # By the caller or a shutdown: no other provider is asked.
            caller.stopping = True
            if task is not None:
                task.uncancel()
            log.warning("attempt cut off", provider=link.provider.name, message_id=message.id)
        except Exception:
            log.exception("provider raised", provider=link.provider.name, message_id=message.id)
            outcome = Outcome(kind=Kind.UNCONFIRMED, detail="internal error during the attempt")
        finally:
            caller.attempt = None
            # That the gateway hung up says nothing about the provider.
            link.settle(permit, _NOT_ASKED if outcome is _CUT_OFF else outcome, began)
        return outcome
