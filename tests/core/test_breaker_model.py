"""The breaker beside its model, over histories that nobody would think of."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle
from math import inf, nan

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from relaypost_server.core.breaker import Breaker, BreakerPolicy, Permit, RefusalReason
from relaypost_server.core.outcome import Effect
from tests.core.breaker_model import CLOSED, OPEN, BreakerModel, ModelPermit
from tests.core.effort import EFFORT

POLICIES = st.builds(
    BreakerPolicy,
    failures_to_open=st.sampled_from([5, 1, 2, 3]),
    open_seconds=st.sampled_from([60.0, 0.5, 7.0]),
    successes_to_close=st.sampled_from([2, 1, 3]),
    rate_to_open=st.sampled_from([0.5, 0.25, 1.0, 1.1]),
    rate_calls=st.sampled_from([20, 2, 4, 7]),
    rate_seconds=st.sampled_from([30.0, 1.0, 90.0]),
    jitter=st.sampled_from([0.1, 0.0, 0.5]),
    escalate=st.booleans(),
    longest_open_seconds=st.sampled_from([300.0, 30.0, 150.0]),
    lease_slack=st.sampled_from([5.0, 0.0]),
)
STEPS = st.sampled_from([0.0, 0.1, 0.25, 1.0, 3.0, 10.0, 29.0, 61.0]) | st.floats(0.0, 400.0)
LUCK = st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
HOSTILE = st.sampled_from([nan, inf, -inf, -1.0, 1e9, 1e308, -0.0])
EFFECTS = st.sampled_from(Effect)
SECONDS = st.sampled_from([0.0, 0.1, 0.5, 1.4, 1.5, 2.0, 3.0, 5.0, 9.9, 10.0])
APART = st.sampled_from([0.0, 0.01, 0.4, 1.6])


@dataclass(frozen=True)
class Held:
    """A permit, as the breaker and as the model know it."""

    permit: Permit
    model: ModelPermit


class BreakerMachine(RuleBasedStateMachine):
    """Every rule does one thing to the breaker and its model, and compares what they make of it.

    A twin breaker lives through the same calls but is never read: whatever it
    answers differently was changed by a read.
    """

    permits: Bundle[Held] = Bundle("permits")

    @initialize(policy=POLICIES, start=st.sampled_from([0.0, 1e6, 123.456]), luck=LUCK)
    def begin(self, policy: BreakerPolicy, start: float, luck: tuple[float, float]) -> None:
        self.now = start
        self.breaker = Breaker(policy, draw=cycle(luck).__next__)
        self.twin = Breaker(policy, draw=cycle(luck).__next__)
        self.model = BreakerModel(policy, start)

    @rule(seconds=STEPS)
    def wait(self, seconds: float) -> None:
        self._move(self.now + seconds)

    @rule(near=st.sampled_from([-0.001, 0.0, 0.001]))
    def wait_until_something_is_due(self, near: float) -> None:
        """The edges are where mistakes live: just before, at and just after."""
        self._move(max(self.now, min(self._due(), default=self.now) + near))

    @rule(target=permits, timeout=st.sampled_from([1.0, 10.0, 30.0]))
    def admit(self, timeout: float) -> Held | MultipleResults[Held]:
        return self._admit(timeout) or multiple()

    @rule(held=permits, effect=EFFECTS, took=SECONDS)
    def settle(self, held: Held, effect: Effect, took: float) -> None:
        """Late, for the second time, after the lease or from an older generation: whatever comes up."""
        self._settle(held, effect, took)

    @rule(took=st.lists(SECONDS, max_size=3), had=SECONDS, own=st.sampled_from([10.0, 2.0, 1.5]), apart=APART)
    def run_out_of_time(self, took: list[float], had: float, own: float, apart: float) -> None:
        """Calls that end in time, and then one that does not."""
        for seconds in took:
            self._call(Effect.SUCCESS, seconds)
            self._move(self.now + apart)
        effect = self.breaker.effect_of_timeout(self.now, had=had, own=own)
        assert effect in self.model.timeout_effects(had, own)
        self._call(effect, had)

    @rule(effect=EFFECTS, times=st.integers(1, 6), apart=APART)
    def calls(self, effect: Effect, times: int, apart: float) -> None:
        """Calls that end at once and alike, as far as the circuit lets them through."""
        self._calls([effect] * times, apart)

    @rule(bits=st.integers(0, 2**24 - 1), apart=APART)
    def flap(self, bits: int, apart: float) -> None:
        """Calls of which some fail, in any pattern."""
        self._calls([Effect.FAILURE if bits >> n & 1 else Effect.SUCCESS for n in range(24)], apart)

    @precondition(lambda self: self.model.state is OPEN)
    @rule(effect=EFFECTS, times=st.integers(1, 3))
    def recover(self, effect: Effect, times: int) -> None:
        self._move_to_reopening()
        self._calls([effect] * times, 0.01)

    @precondition(lambda self: self.model.state is not CLOSED)
    @rule(effect=EFFECTS, late=st.sampled_from([-0.001, 0.0, 0.001, 100.0, 500.0]))
    def settle_a_probe_around_the_end_of_its_lease(self, effect: Effect, late: float) -> None:
        self._move_to_reopening()
        probe = self._admit(1.0)
        if probe is not None and probe.model.lease_ends is not None:
            self._move(probe.model.lease_ends + late)
            self._settle(probe, effect)
            self._admit(1.0)

    @precondition(lambda self: self.model.state is not CLOSED)
    @rule(target=permits, first=st.sampled_from([Effect.NEUTRAL, Effect.SUCCESS]), echo=EFFECTS)
    def settle_a_probe_again_during_the_next(self, first: Effect, echo: Effect) -> Held | MultipleResults[Held]:
        """What an earlier probe has still to say is not the present probe's result."""
        self._move_to_reopening()
        probe = self._admit(10.0)
        if probe is None:
            return multiple()
        self._settle(probe, first)
        following = self._admit(10.0)
        self._settle(probe, echo)
        return following or multiple()

    @rule(seconds=st.floats(0.0, 400.0) | HOSTILE)
    def cool_down(self, seconds: float) -> None:
        for breaker in (self.breaker, self.twin):
            breaker.cool_down(seconds, self.now)
        self.model.cool_down(seconds)

    @rule(seconds=st.floats(0.0, 400.0) | HOSTILE)
    def be_wary(self, seconds: float) -> None:
        self._be_wary(seconds)

    @rule(seconds=st.sampled_from([1.0, 60.0, 400.0]), effects=st.lists(EFFECTS, max_size=4), apart=APART)
    def call_warily(self, seconds: float, effects: list[Effect], apart: float) -> None:
        """What follows soon after advice is what advice is about."""
        self._be_wary(seconds)
        self._calls(effects, apart)

    @rule(again=st.booleans())
    def bench(self, again: bool) -> None:
        """Once, or twice within the same open time."""
        for _ in range(1 + again):
            self.model.observe(self.breaker.refusal(self.now))
            for breaker in (self.breaker, self.twin):
                breaker.bench(self.now)
            self.model.bench()
            self._move(self.now + 1.0)

    @invariant()
    def agrees(self) -> None:
        """What the breaker shows is what the model expects."""
        snapshot = self.breaker.snapshot(self.now)
        assert self.breaker.refusal(self.now) == snapshot.refusal
        assert self.breaker.state(self.now) is snapshot.state
        self._check_refusal()
        self.model.observe(snapshot.refusal)
        assert snapshot.state is self.model.state
        assert snapshot.reason is self.model.reason
        assert snapshot.consecutive_failures == self.model.consecutive
        assert (snapshot.recent_calls, snapshot.recent_failures) in self.model.recent()
        assert self.breaker.generation == self.model.generation
        assert snapshot.wary_until == self.model.wary_until()
        if self.model.changed is None:
            assert snapshot.changed_at is None
        else:
            assert snapshot.changed_at is not None
            assert snapshot.changed_at in self.model.changed

    def teardown(self) -> None:
        """Never stuck: were every permit lost now, a call would get through once leases and open times are over."""
        policy, model = self.model.policy, self.model
        lease = model.probe.lease_ends if model.probe and model.probe.lease_ends else self.now
        longest = max(policy.open_seconds, policy.longest_open_seconds) * (1 + policy.jitter)
        later = max(model.reopens.high, lease + longest, model.cool_until)
        assert isinstance(self.twin.admit(later, timeout=1.0), Permit)

    def _calls(self, effects: Iterable[Effect], apart: float) -> None:
        for effect in effects:
            held = self._admit(10.0)
            if held is None:
                return
            self._settle(held, effect)
            self._move(self.now + apart)

    def _call(self, effect: Effect, took: float) -> None:
        held = self._admit(10.0)
        if held is not None:
            self._settle(held, effect, took)

    def _be_wary(self, seconds: float) -> None:
        self.model.observe(self.breaker.refusal(self.now))
        for breaker in (self.breaker, self.twin):
            breaker.be_wary(seconds, self.now)
        self.model.be_wary(seconds)

    def _due(self) -> list[float]:
        lease = self.model.probe.lease_ends if self.model.probe else None
        times = (lease, self.model.reopens.high, self.model.cool_until, self.model.wary_until())
        return [time for time in times if time is not None and self.now < time < inf]

    def _admit(self, timeout: float) -> Held | None:
        self._check_refusal()
        refusal = self.breaker.refusal(self.now)
        self.model.observe(refusal)
        answer = self.breaker.admit(self.now, timeout=timeout)
        assert self.twin.admit(self.now, timeout=timeout) == answer
        if not isinstance(answer, Permit):
            assert answer == refusal
            return None
        assert refusal is None
        assert answer.generation == self.model.generation
        return Held(answer, self.model.admit(timeout))

    def _settle(self, held: Held, effect: Effect, took: float = 0.0) -> None:
        self.model.observe(self.breaker.refusal(self.now))
        for breaker in (self.breaker, self.twin):
            breaker.settle(held.permit, effect, self.now, took=took)
        was_closed = self.model.state is CLOSED and held.model.generation == self.model.generation
        self.model.settle(held.model, effect, took)
        if was_closed and self.model.state is CLOSED and effect is Effect.FAILURE:
            opened = self.breaker.state(self.now) is OPEN
            assert opened in self.model.rate_verdicts()
            if opened:
                self.model.open_by_rate()

    def _check_refusal(self) -> None:
        """A refusal gives a true reason and a time that is neither past nor too early."""
        refusal = self.breaker.refusal(self.now)
        if refusal is None:
            assert not self.model.must_refuse()
            return
        assert refusal.reason in self.model.may_refuse()
        assert refusal.retry_at in self.model.retry()
        assert refusal.retry_at > self.now
        if refusal.reason is RefusalReason.PROBING:
            assert self.model.probe is not None

    def _move_to_reopening(self) -> None:
        self._move(max(self.now, self.model.reopens.high, self.model.cool_until))

    def _move(self, now: float) -> None:
        self.now = now
        self.model.pass_time(now)


TestBreakerModel = BreakerMachine.TestCase
TestBreakerModel.settings = EFFORT
