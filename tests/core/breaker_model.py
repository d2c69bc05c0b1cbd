"""What a circuit breaker must do, in the words of its specification.

The model knows the whole history, where the breaker keeps a few numbers. Where
the specification leaves room, the model says how much, as a range:

- The open time is what was set, plus any part of the jitter.
- Wariness ends at its time or with its successes, whichever comes first, and with the circuit's closed state.
- The rate rule is asked when a call fails, for a success is no reason to open.
- A time-out's weight is judged by the slowest success of the window, to the tenth as well.
- The rate rule looks back over its window to the tenth: results younger than
  nine tenths count, results older than the window do not, and those in
  between may.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from math import inf, isnan

from relaypost_server.core.breaker import (
    LONGEST_COOL_DOWN,
    BreakerPolicy,
    CircuitState,
    OpenReason,
    Refusal,
    RefusalReason,
)
from relaypost_server.core.outcome import Effect

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
ROUNDING = 1e-6
"Seconds that floating point may lose."


@dataclass(frozen=True, slots=True)
class Range:
    """Any time from `low` to `high`, in seconds."""

    low: float
    high: float

    def __contains__(self, time: float) -> bool:
        return self.low - ROUNDING <= time <= self.high + ROUNDING


@dataclass(slots=True)
class ModelPermit:
    """A permit as the model knows it: where it came from, and until when it is good."""

    generation: int
    lease_ends: float | None
    """None for a permit of a closed circuit, which has no lease."""


@dataclass(slots=True)
class BreakerModel:
    """One circuit. Every method first lets the time pass until `now`."""

    policy: BreakerPolicy
    now: float
    state: CircuitState = CLOSED
    reason: OpenReason | None = None
    changed: Range | None = None
    """When the state last changed; None where it never did."""
    generation: int = 0
    consecutive: int = 0
    results: list[tuple[float, bool]] = field(default_factory=list)
    """When each call of this closed generation ended, and whether it failed."""
    durations: list[tuple[float, float]] = field(default_factory=list)
    """When each success that counted ended, of whatever generation, and how many seconds it took."""
    successes: int = 0
    probe: ModelPermit | None = None
    reopens: Range = Range(-inf, -inf)
    """When the open circuit lets a probe through."""
    openings: int = 0
    """Since the circuit was last closed."""
    cool_until: float = -inf
    warnings: list[float] = field(default_factory=list)
    """When each piece of advice ends that this closed generation was given."""
    calm: int = 0
    """Successes since the last of them came."""

    def pass_time(self, now: float) -> None:
        """Ends what time alone ends: a lost probe counts as a failure from the end of its lease."""
        self.now = now
        if self.probe is not None and self.probe.lease_ends is not None and now >= self.probe.lease_ends:
            self.consecutive += 1
            self._open(self.probe.lease_ends, OpenReason.PROBE_FAILED)
        if self.state is OPEN and now >= self.reopens.high:
            self._half_open()

    def must_refuse(self) -> frozenset[RefusalReason]:
        """Every reason for which no call may be made now; none where one may."""
        found = set()
        if self.state is OPEN and self.now < self.reopens.low:
            found.add(RefusalReason.OPEN)
        if self.probe is not None:
            found.add(RefusalReason.PROBING)
        if self.now < self.cool_until:
            found.add(RefusalReason.COOLING)
        return frozenset(found)

    def may_refuse(self) -> frozenset[RefusalReason]:
        """Every reason that a refusal may give now."""
        return self.must_refuse() | ({RefusalReason.OPEN} if self.state is OPEN else set())

    def retry(self) -> Range:
        """The range of times that a refusal may name."""
        low = high = self.now
        if self.state is OPEN:
            low, high = max(low, self.reopens.low), max(high, self.reopens.high)
        if self.probe is not None and self.probe.lease_ends is not None:
            high = max(high, self.probe.lease_ends)
        return Range(max(low, self.cool_until), max(high, self.cool_until))

    def observe(self, refusal: Refusal | None) -> None:
        """Learns the jitter that was drawn, which no later moment may contradict."""
        if self.state is not OPEN:
            return
        if refusal is None or refusal.reason is not RefusalReason.OPEN:
            self._half_open()
        elif refusal.retry_at > self.cool_until:
            self.reopens = Range(refusal.retry_at, refusal.retry_at)

    def admit(self, timeout: float) -> ModelPermit:
        """A call was let through: the permit that it must hold."""
        if self.state is CLOSED:
            return ModelPermit(self.generation, None)
        self.probe = ModelPermit(self.generation, self.now + timeout + self.policy.lease_slack)
        return self.probe

    def timeout_effects(self, had: float, own: float) -> frozenset[Effect]:
        """What a time-out may prove now. Both where the tenth of the window decides."""
        surely = [took for time, took in self.durations if self.now - time < self.policy.rate_seconds * 0.9 - ROUNDING]
        perhaps = [took for time, took in self.durations if self.now - time <= self.policy.rate_seconds + ROUNDING]
        slowest = {max(surely, default=None), *(took for took in perhaps if took >= max(surely, default=0.0))}
        return frozenset(Effect.FAILURE if self._is_telling(had, own, s) else Effect.NEUTRAL for s in slowest)

    @staticmethod
    def _is_telling(had: float, own: float, slowest: float | None) -> bool:
        """The provider had its own time-out, or twice its slowest success, or without one 3 s."""
        return had >= own or had >= (3.0 if slowest is None else 2.0 * slowest)

    def settle(self, permit: ModelPermit, effect: Effect, took: float = 0.0) -> None:
        """A call ended. A closed circuit's permits are all alike, so each settling counts there."""
        if permit.generation != self.generation or (self.state is HALF_OPEN and permit is not self.probe):
            return
        self.probe = None
        if effect is Effect.SUCCESS:
            self.durations.append((self.now, took))
        if effect is Effect.ACCOUNT_FAULT:
            self._open(self.now, OpenReason.ACCOUNT)
        elif effect is not Effect.NEUTRAL:
            settle = self._settle_closed if self.state is CLOSED else self._settle_probe
            settle(failed=effect is Effect.FAILURE)

    def _settle_closed(self, *, failed: bool) -> None:
        self.results.append((self.now, failed))
        self.consecutive = self.consecutive + 1 if failed else 0
        wary = self.wary_until() is not None
        self.calm += not failed
        if self.consecutive >= self.policy.failures_to_open:
            self._open(self.now, OpenReason.CONSECUTIVE_FAILURES)
        elif failed and wary:
            self._open(self.now, OpenReason.ADVISED)

    def _settle_probe(self, *, failed: bool) -> None:
        self.consecutive = self.consecutive + 1 if failed else 0
        if failed:
            self._open(self.now, OpenReason.PROBE_FAILED)
            return
        self.successes += 1
        if self.successes == self.policy.successes_to_close:
            self._begin(CLOSED, None, Range(self.now, self.now))
            self.openings = 0
            self.results.clear()

    def rate_verdicts(self) -> frozenset[bool]:
        """What the rate rule may say now: True opens. Both where the tenth of the window decides."""
        return frozenset(
            calls >= self.policy.rate_calls and failures >= self.policy.rate_to_open * calls
            for calls, failures in self.recent()
        )

    def open_by_rate(self) -> None:
        self._open(self.now, OpenReason.FAILURE_RATE)

    def recent(self) -> frozenset[tuple[int, int]]:
        """Every count of calls and failures that the window may show now."""
        ages = [self.now - time for time, _ in self.results]
        surely = sum(age < self.policy.rate_seconds * 0.9 - ROUNDING for age in ages)
        perhaps = sum(age <= self.policy.rate_seconds + ROUNDING for age in ages)
        newest = [failed for _, failed in reversed(self.results)]
        cuts = [n for n in range(surely, perhaps + 1) if self._may_cut(ages[::-1], n)]
        return frozenset((n, sum(newest[:n])) for n in cuts)

    @staticmethod
    def _may_cut(newest_first: list[float], count: int) -> bool:
        """Results of one moment are all counted or all forgotten."""
        return not any(count == n and older == newer for n, (newer, older) in enumerate(pairwise(newest_first), 1))

    def cool_down(self, seconds: float) -> None:
        """Calls stay away for as long as was asked, but no longer than a day; nonsense asks nothing."""
        wanted = 0.0 if isnan(seconds) else min(max(seconds, 0.0), LONGEST_COOL_DOWN)
        self.cool_until = max(self.cool_until, self.now + wanted)

    def be_wary(self, seconds: float) -> None:
        """For as long as the other's circuit is open, as far as that is believed; nonsense and the past say nothing.

        Advice that ends before what is known already says nothing new. What has been proven unfounded does not come
        back with it.
        """
        until = self.now + min(seconds, self.policy.longest_open_seconds)
        if self.state is CLOSED and until > max((*self._believed(), self.now)):
            self.warnings = [*self._believed(), until]
            self.calm = 0

    def wary_until(self) -> float | None:
        """Until when one failure opens."""
        return max((until for until in self._believed() if until > self.now), default=None)

    def _believed(self) -> list[float]:
        return self.warnings if self.calm < self.policy.successes_to_close else []

    def bench(self) -> None:
        """Whatever the calls say: open, and for at least the open time from now on."""
        if self.state is OPEN:
            until = self.now + self._open_time().low
            self.reopens = Range(max(self.reopens.low, until), max(self.reopens.high, until))
        else:
            self._open(self.now, OpenReason.UNDELIVERED)

    def _open_time(self) -> Range:
        seconds = self.policy.open_seconds
        if self.policy.escalate:
            seconds = max(seconds, min(seconds * 2 ** (self.openings - 1), self.policy.longest_open_seconds))
        return Range(seconds, seconds * (1 + self.policy.jitter))

    def _open(self, at: float, reason: OpenReason) -> None:
        self._begin(OPEN, reason, Range(at, at))
        self.openings += 1
        time = self._open_time()
        self.reopens = Range(at + time.low, at + time.high)

    def _half_open(self) -> None:
        self._begin(HALF_OPEN, self.reason, self.reopens)
        self.successes = 0

    def _begin(self, state: CircuitState, reason: OpenReason | None, at: Range) -> None:
        self.state, self.reason, self.changed = state, reason, at
        self.generation += 1
        self.probe = None
        self.warnings.clear()
