"""A circuit breaker that lets one probe through at a time and cannot get stuck.

It never reads a clock and never waits: `now` is a monotonic time in seconds.
All changes of state are in `_open`, `_half_open` and `_close`, and each begins
a new generation: a result that belongs to an older generation changes nothing.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from relaypost_server.core.outcome import Effect
from relaypost_server.core.rolling import RollingCounts
from relaypost_server.core.timeouts import TimeoutEvidence
from relaypost_server.core.value import value

LONGEST_COOL_DOWN: Final = 24 * 3600.0
"""Seconds. No provider's word keeps it out of the chain for longer."""


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class OpenReason(StrEnum):
    CONSECUTIVE_FAILURES = "consecutive_failures"
    FAILURE_RATE = "failure_rate"
    ACCOUNT = "account"
    PROBE_FAILED = "probe_failed"
    UNDELIVERED = "undelivered"
    """Too little of what the provider took has arrived."""
    ADVISED = "advised"
    """A first failure, after another gateway's circuit had opened."""


class RefusalReason(StrEnum):
    OPEN = "open"
    PROBING = "probing"
    COOLING = "cooling"
    BUDGET = "budget"
    """Not the circuit's own: the month's budget is used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When a circuit opens and closes; times in seconds."""

    failures_to_open: int = 5
    open_seconds: float = 60.0
    successes_to_close: int = 2
    rate_to_open: float = 0.5
    """The part of failed calls, 0 to 1, that opens the circuit; above 1: never."""
    rate_calls: int = 20
    """Fewer calls than this within `rate_seconds` say nothing about a rate."""
    rate_seconds: float = 30.0
    jitter: float = 0.1
    """The open time is lengthened by up to this part of itself, never shortened."""
    escalate: bool = False
    """Whether each reopening doubles the open time, up to `longest_open_seconds`."""
    longest_open_seconds: float = 300.0
    lease_slack: float = 5.0
    """Seconds past its attempt's time-out after which a probe counts as lost."""


@value(frozen=True, slots=True)
class Permit:
    """The right to make one call."""

    generation: int
    circuit: CircuitState
    """Under which it was given."""
    probe_number: int = 0


@value(frozen=True, slots=True)
class Refusal:
    """Why no call may be made now, and when one may be made again."""

    reason: RefusalReason
    retry_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitSnapshot:
    """A circuit as it stands, for people and metrics."""

    state: CircuitState
    reason: OpenReason | None
    changed_at: float | None
    refusal: Refusal | None
    consecutive_failures: int
    recent_calls: int
    recent_failures: int
    wary_until: float | None = None
    """Until when one failure opens; None where the usual number does."""


class Breaker:
    """The circuit of one provider, account and channel."""

    def __init__(self, policy: BreakerPolicy, draw: Callable[[], float] = random.random) -> None:
        """`draw` gives the jitter: numbers from 0 to 1."""
        self._policy = policy
        self._draw = draw
        self._recent = RollingCounts(policy.rate_seconds)
        self._timeouts = TimeoutEvidence(policy.rate_seconds)
        self._state = CircuitState.CLOSED
        self._reason: OpenReason | None = None
        self._changed_at: float | None = None
        self.generation = 0
        """Grows by one with each change of state."""
        self._permit = Permit(self.generation, self._state)
        self._failures = 0
        self._successes = 0
        self._reopenings = 0
        self._open_until = 0.0
        self._cool_until = 0.0
        self._wary_until = 0.0
        self._probe: Permit | None = None
        self._probe_expires = 0.0
        self._probes = 0

    def state(self, now: float) -> CircuitState:
        self._advance(now)
        return self._state

    def refusal(self, now: float) -> Refusal | None:
        """Why `admit` would say no; None if it would say yes. Takes nothing."""
        self._advance(now)
        if self._state is CircuitState.OPEN:
            return Refusal(RefusalReason.OPEN, max(self._open_until, self._cool_until))
        if now < self._cool_until:
            return Refusal(RefusalReason.COOLING, self._cool_until)
        if self._probe is not None:
            return Refusal(RefusalReason.PROBING, self._probe_expires)
        return None

    def admit(self, now: float, *, timeout: float) -> Permit | Refusal:
        """A permit for a call that ends within `timeout` seconds, to be settled afterwards."""
        refusal = self.refusal(now)
        if refusal is not None:
            return refusal
        if self._state is CircuitState.CLOSED:
            return self._permit
        self._probes += 1
        self._probe = Permit(self.generation, self._state, self._probes)
        self._probe_expires = now + timeout + self._policy.lease_slack
        return self._probe

    def effect_of_timeout(self, now: float, *, had: float, own: float) -> Effect:
        """What to settle a call with whose time was over after `had` seconds: see `TimeoutEvidence`. Reads only."""
        return self._timeouts.effect(now, had=had, own=own)

    def settle(self, permit: Permit, effect: Effect, now: float, *, took: float = 0.0) -> None:
        """Tells how the permitted call ended, after `took` seconds."""
        self._advance(now)
        if permit.generation != self.generation:
            return
        if self._state is CircuitState.HALF_OPEN:
            self._settle_probe(permit, effect, now, took)
        else:
            self._settle_call(effect, now, took)

    def cool_down(self, seconds: float, now: float) -> None:
        """Keeps calls away for a while without opening: the provider throttles us."""
        self._cool_until = max(self._cool_until, now + min(seconds, LONGEST_COOL_DOWN))

    def be_wary(self, seconds: float, now: float) -> None:
        """Lets the first failure open a closed circuit for a while, for another gateway's circuit has opened.

        It ends with as many successes as close a circuit. Circuits that are not closed know more than they are told.
        """
        until = now + min(seconds, self._policy.longest_open_seconds)
        if self._state is CircuitState.CLOSED and until > self._wary_until:
            self._wary_until = until
            self._successes = 0

    def bench(self, now: float) -> None:
        """Opens, or stays open for the open time from now on, whatever the calls say: what they hand over is lost."""
        self._advance(now)
        if self._state is CircuitState.OPEN:
            self._open_until = max(self._open_until, now + self._open_time())
        else:
            self._open(OpenReason.UNDELIVERED, now)

    def snapshot(self, now: float) -> CircuitSnapshot:
        refusal = self.refusal(now)
        calls, failures = self._recent.totals(now)
        return CircuitSnapshot(
            state=self._state,
            reason=self._reason,
            changed_at=self._changed_at,
            refusal=refusal,
            consecutive_failures=self._failures,
            recent_calls=calls,
            recent_failures=failures,
            wary_until=self._wary_until if now < self._wary_until else None,
        )

    def _settle_call(self, effect: Effect, now: float, took: float) -> None:
        match effect:
            case Effect.SUCCESS:
                self._failures = 0
                self._recent.add(now, failed=False)
                self._timeouts.succeeded(now, took)
                self._successes += 1
                if self._successes >= self._policy.successes_to_close:
                    self._wary_until = 0.0
            case Effect.FAILURE:
                self._failures += 1
                self._recent.add(now, failed=True)
                reason = self._reason_to_open(now)
                if reason:
                    self._open(reason, now)
            case Effect.ACCOUNT_FAULT:
                self._open(OpenReason.ACCOUNT, now)
            case Effect.NEUTRAL:
                pass

    def _settle_probe(self, permit: Permit, effect: Effect, now: float, took: float) -> None:
        if permit != self._probe:
            return
        self._probe = None
        match effect:
            case Effect.SUCCESS:
                self._failures = 0
                self._timeouts.succeeded(now, took)
                self._successes += 1
                if self._successes >= self._policy.successes_to_close:
                    self._close(now)
            case Effect.FAILURE:
                self._failures += 1
                self._open(OpenReason.PROBE_FAILED, now)
            case Effect.ACCOUNT_FAULT:
                self._open(OpenReason.ACCOUNT, now)
            case Effect.NEUTRAL:
                pass

    def _reason_to_open(self, now: float) -> OpenReason | None:
        if self._failures >= self._policy.failures_to_open:
            return OpenReason.CONSECUTIVE_FAILURES
        if now < self._wary_until:
            return OpenReason.ADVISED
        calls, failures = self._recent.totals(now)
        if calls >= self._policy.rate_calls and failures >= calls * self._policy.rate_to_open:
            return OpenReason.FAILURE_RATE
        return None

    def _advance(self, now: float) -> None:
        """Does what only the passing of time does."""
        if self._state is CircuitState.CLOSED:
            return
        if self._probe is not None and now >= self._probe_expires:
            self._failures += 1
            self._open(OpenReason.PROBE_FAILED, self._probe_expires)
        if self._state is CircuitState.OPEN and now >= self._open_until:
            self._half_open(self._open_until)

    def _open(self, reason: OpenReason, now: float) -> None:
        if self._state is CircuitState.HALF_OPEN:
            self._reopenings += 1
        self._turn(CircuitState.OPEN, reason, now)
        self._open_until = now + self._open_time() * (1 + self._policy.jitter * self._draw())

    def _half_open(self, now: float) -> None:
        self._turn(CircuitState.HALF_OPEN, self._reason, now)

    def _close(self, now: float) -> None:
        self._reopenings = 0
        self._recent.clear()
        self._turn(CircuitState.CLOSED, None, now)

    def _turn(self, state: CircuitState, reason: OpenReason | None, now: float) -> None:
        self._state = state
        self._reason = reason
        self._changed_at = now
        self.generation += 1
        self._permit = Permit(self.generation, state)
        self._probe = None
        self._successes = 0
        self._wary_until = 0.0

    def _open_time(self) -> float:
        if not self._policy.escalate:
            return self._policy.open_seconds
        doubled = self._policy.open_seconds * float(1 << min(self._reopenings, 16))
        return max(self._policy.open_seconds, min(doubled, self._policy.longest_open_seconds))
