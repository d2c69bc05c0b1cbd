"""Sends a message once more, by a provider that certainly does not have it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.failover import Attempt, Delivery, SkipReason
from relaypost_server.core.idempotency import LOST
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.silence import before_the_walk, explained, second_copy, went_out
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.dispatch import Caller, Limits
from relaypost_server.flow.silence import SilenceLog, Waiting
from relaypost_server.flow.suppressions import NoScreen, Screen, heed_refusals

WRITE_PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Seconds between attempts to put the end of a second send on record."""

log = structlog.get_logger("relaypost.silence")


class SecondSend:
    """Walks the rest of the chain; on record before the first byte."""

    def __init__(self, silence_log: SilenceLog, screen: Screen | None = None, *, limits: Limits, clock: Clock) -> None:
        """`screen`: knows who gets no messages; None: everybody gets them."""
        self._log = silence_log
        self._screen = screen or NoScreen()
        self._limits = limits
        self._clock = clock
        self._callers: set[Caller] = set()
        """Of the walks that run."""

    def cut_off(self) -> None:
        """Ends attempts that run as unconfirmed, and begins no other."""
        for caller in self._callers:
            caller.cut_off()

    async def send(self, waiting: Waiting[Any]) -> str:
        """One of sent, failed (nobody took it) and given_up (it may not be sent again, or nobody can tell)."""
        if self._screen.among(waiting.message.caller, waiting.message.content.recipients):
            return "given_up"  # They said STOP meanwhile.
        journal = _Journal(self._log, waiting, self._clock)
        delivery = await self._deliver(waiting, journal)
        if not journal.claimed:
            return "given_up"
        heed_refusals(self._screen, waiting.message, delivery.attempts)
        attempts = tuple(explained(a) for a in delivery.attempts)
        sent = went_out(attempts)
        await self._finish(waiting, attempts, attempts[-1].provider if sent else "")
        log.info(
            "message sent again",
            message_id=waiting.record.id,
            silent=waiting.record.provider,
            attempts=[f"{a.provider} {a.kind.value}" for a in attempts],
        )
        return "sent" if sent else "failed"

    async def _deliver(self, waiting: Waiting[Any], journal: "_Journal") -> Delivery:
        now = self._clock.monotonic()
        caller = Caller(began=now, end=now + self._limits.budget(None))
        self._callers.add(caller)
        try:
            return await waiting.dispatcher.deliver(
                second_copy(waiting.message, age=now - waiting.since),
                caller=caller,
                journal=journal,
                in_doubt=journal.before,
            )
        finally:
            self._callers.discard(caller)

    async def _finish(self, waiting: Waiting[Any], attempts: Sequence[Attempt], sent_by: str) -> None:
        """What cannot be written stays as it was before the first byte: unconfirmed."""
        for pause in (*WRITE_PAUSES, None):
            try:
                await self._log.finish(waiting.record, attempts, sent_by=sent_by)
            except LogUnavailableError:
                if pause is None:
                    log.error("outcome of a second send left out of the log", message_id=waiting.record.id)  # noqa: TRY400
                else:
                    await asyncio.sleep(pause)
            else:
                return


class _Journal:
    """Claims the second send when a provider is about to be asked."""

    def __init__(self, silence_log: SilenceLog, waiting: Waiting[Any], clock: Clock) -> None:
        self._log = silence_log
        self._waiting = waiting
        self._clock = clock
        self.before = before_the_walk(waiting.record)
        self.claimed = False

    async def starting(self, provider: str, attempts: Sequence[Attempt]) -> SkipReason | None:
        about = Attempt(
            provider=provider,
            outcome=Outcome(kind=Kind.UNCONFIRMED, detail=LOST),
            circuit=CircuitState.CLOSED,
            start_time=self._clock.wall(),
        )
        made = [explained(a) for a in (*attempts[len(self.before) :], about)]
        record, otp = self._waiting.record, self._waiting.confirm.otp
        try:
            held = await self._log.claim(record, made, provider, otp, first=not self.claimed)
        except LogUnavailableError:
            return SkipReason.NOT_ON_RECORD
        self.claimed = self.claimed or held
        return None if held else SkipReason.TAKEN_OVER
