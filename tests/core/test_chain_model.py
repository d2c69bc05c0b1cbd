"""The walk of a chain beside its model: any outcomes, circuits, times and departures."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from relaypost_server.core.breaker import CircuitState, Refusal, RefusalReason
from relaypost_server.core.failover import (
    Attempt,
    Candidate,
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
from relaypost_server.core.message import Address, Guarantee
from relaypost_server.core.outcome import Kind, Outcome, RefusedRecipient
from tests.core.chain_model import Ask, End, Event, PassOver, WalkModel
from tests.core.effort import EFFORT
from tests.messages import NOW, email

NAMES = ("a", "b", "c", "d")
RECIPIENTS = tuple(f"{name}@example.com" for name in ("ada", "grace", "alan"))
ASKED = st.sampled_from([Kind.UNCONFIRMED, Kind.UNREACHABLE, *(kind for kind in Kind if kind is not Kind.SKIPPED)])
"""The kinds on which the model has most to say come up twice as often."""
TIMES = st.sampled_from([10.0, 1.0, 1.5, 4.0, 30.0])
BUDGETS = st.sampled_from([14.8, 29.8, 90.0, 3.0, 1.0, 0.999, -0.2]) | st.floats(0.0, 60.0)
PARTS = st.sampled_from([0.0, 0.3, 1.0])
REFUSALS = st.sampled_from(RefusalReason)
CIRCUIT = st.sampled_from([None, None, *RefusalReason])
START = 100.0
"""The monotonic time at which every refusal is looked at."""
WAITS = st.sampled_from([None, 0.0, 0.25, 7.0, 300.0])
SOME = st.sampled_from([set(), {RECIPIENTS[0]}, {RECIPIENTS[2]}, set(RECIPIENTS[:2])])


WALKS: dict[str, Any] = {
    "length": st.sampled_from([3, 4, 2, 1, 0]),
    "own": st.tuples(TIMES, TIMES, TIMES, TIMES),
    "guarantee": st.sampled_from(Guarantee),
    "budget": BUDGETS,
    "shortest": st.sampled_from([1.0, 0.5]),
}


class WalkMachine(RuleBasedStateMachine):
    """A message, its chain and a world that changes between any two steps."""

    @initialize(**WALKS)
    def begin(self, length: int, own: tuple[float, ...], guarantee: Guarantee, budget: float, shortest: float) -> None:
        chain = dict(zip(NAMES[:length], own, strict=False))
        self.candidates = [Candidate(provider=name, timeout=timeout) for name, timeout in chain.items()]
        self.model = WalkModel(chain, guarantee, frozenset(RECIPIENTS), shortest)
        self.message = email(
            guarantee, to=tuple(Address(email=to) for to in RECIPIENTS[:2]), bcc=(Address(email=RECIPIENTS[2]),)
        )
        self.attempts: list[Attempt] = []
        self.refusals: dict[str, Refusal] = {}
        self.budget = self.time_left = budget
        self.gone = False
        self.verdict: Verdict | None = None

    @precondition(lambda self: self.verdict is not None)
    @rule(**WALKS)
    def begin_another(self, **walk: Any) -> None:
        self.begin(**walk)

    @rule(reasons=st.tuples(CIRCUIT, CIRCUIT, CIRCUIT, CIRCUIT), wait=st.sampled_from([0.5, 7.0, 60.0]))
    def circuits_change(self, reasons: tuple[RefusalReason | None, ...], wait: float) -> None:
        """Each next circuit is open for a little less, so that the earliest is not always the first."""
        self.refusals = {
            name: Refusal(reason, START + wait - 0.1 * n)
            for n, (name, reason) in enumerate(zip(NAMES, reasons, strict=True))
            if reason is not None
        }

    @precondition(lambda self: self.verdict is None)
    @rule()
    def caller_leaves(self) -> None:
        self.gone = True

    @precondition(lambda self: self.verdict is None)
    @rule(
        kinds=st.tuples(ASKED, ASKED, ASKED, ASKED, ASKED),
        steps=st.sampled_from([5, 1]),
        part=PARTS,
        wait=WAITS,
        refused=SOME,
        lost=SOME,
        again=st.booleans(),
        blames=st.booleans(),
        alert=st.sampled_from([False, False, True]),
    )
    def walk(
        self,
        kinds: tuple[Kind, ...],
        steps: int,
        part: float,
        wait: float | None,
        refused: set[str],
        lost: set[str],
        again: bool,
        blames: bool,
        alert: bool,
    ) -> None:
        """Some steps. `part` of each one's time passes; whoever accepts refuses some for now, and some for good.

        `blames`: providers that cannot carry the message say that there is no such recipient; `alert`: that our own
        set-up is at fault.
        """
        for kind in kinds[:steps]:
            step, expected = self._next(may_try_again=again)
            if isinstance(step, Finish):
                assert expected == End(step.verdict.ending, step.verdict.possible_duplicate, step.verdict.retry_after)
                self.verdict = step.verdict
                return
            if isinstance(step, Skip):
                assert expected == PassOver(step.provider, step.reason)
                self._pass_over(step)
            else:
                self._check_try(step, expected)
                self.time_left -= step.timeout * part
                self._ask(step, kind, wait, refused, lost, blames=blames, alert=alert)
            self.judges_every_beginning_of_a_walk()

    @precondition(lambda self: self.verdict is None)
    @rule(reason=REFUSALS)
    def circuit_closes_the_way_at_the_last_moment(self, reason: RefusalReason) -> None:
        """Another message took the probe between the decision and the call."""
        step, expected = self._next(may_try_again=True)
        if isinstance(step, Try):
            self._check_try(step, expected)
            self._pass_over(passed_over(step.provider, Refusal(reason, START + 7.0)))

    @invariant()
    def asks_nobody_twice(self) -> None:
        """But for one second try, after everyone else, where nothing can have been sent."""
        asked = [a.provider for a in self.attempts]
        assert len(set(asked[: len(self.candidates)])) == len(asked[: len(self.candidates)])
        assert len(asked) <= len(self.candidates) + 1
        if len(asked) > len(self.candidates):
            assert Kind.UNREACHABLE in {a.kind for a in self.attempts if a.provider == asked[-1]}

    @invariant()
    def keeps_within_its_time(self) -> None:
        assert self.time_left >= min(self.budget, -1e-9)

    @invariant()
    def judges_every_beginning_of_a_walk(self) -> None:
        verdict = judge(self.attempts)
        assert self.model.end() == End(verdict.ending, verdict.possible_duplicate, verdict.retry_after)
        accepted = [a for a in self.attempts if a.kind is Kind.ACCEPTED]
        assert Delivery(attempts=tuple(self.attempts), verdict=verdict).accepted is next(iter(accepted), None)

    def _next(self, *, may_try_again: bool) -> tuple[Try | Skip | Finish, Ask | PassOver | End]:
        step = self._decide(may_try_again=may_try_again)
        circuits = {name: refusal.reason for name, refusal in self.refusals.items()}
        expected = self.model.next(circuits, time_left=self.time_left, may_try_again=may_try_again, abandoned=self.gone)
        return step, expected

    def _decide(self, *, may_try_again: bool) -> Try | Skip | Finish:
        if self.attempts and is_final(self.attempts[-1], self.model.guarantee):
            return Finish(verdict=judge(self.attempts))
        return decide(
            self.candidates,
            self.attempts,
            refusals=self.refusals,
            time_left=self.time_left,
            shortest_attempt=self.model.shortest,
            may_try_again=may_try_again,
            abandoned=self.gone,
        )

    def _check_try(self, step: Try, expected: Ask | PassOver | End) -> None:
        assert isinstance(expected, Ask)
        assert replace(expected, timeout=step.timeout) == Ask(step.provider, step.timeout, step.again)
        assert step.timeout == pytest.approx(expected.timeout)
        assert self.model.shortest <= step.timeout <= self.time_left

    def _ask(
        self, step: Try, kind: Kind, wait: float | None, refused: set[str], lost: set[str], *, blames: bool, alert: bool
    ) -> None:
        """The provider gets those who are still to be reached, and nobody else."""
        message = still_to_reach(self.message, self.attempts)
        given = frozenset(message.content.recipients)
        assert given == self.model.still_to_reach()
        assert given
        outcome: dict[str, Any] = {"kind": kind}
        if kind is Kind.UNSUPPORTED:
            outcome |= {"blames_recipient": blames, "alert": alert}
        if kind is Kind.THROTTLED:
            outcome["retry_after"] = wait
        if kind is Kind.ACCEPTED and (refused | lost) & given != given:
            outcome["refused"] = tuple(
                RefusedRecipient(address=to, provider_code="450", temporary=to in refused)
                for to in sorted((refused | lost) & given)
            )
        answer = Outcome(**outcome)
        self._record(step.provider, answer)
        self.model.events.append(
            Event(
                step.provider,
                kind,
                answer.retry_after,
                refused_for_now=frozenset(refused & given if answer.refused else ()),
                blames_recipient=answer.blames_recipient,
                alert=answer.alert,
            )
        )

    def _pass_over(self, step: Skip) -> None:
        wait = None if step.retry_at is None else step.retry_at - START
        assert (wait is None) == (step.reason is SkipReason.NO_TIME)
        self._record(step.provider, Outcome(kind=Kind.SKIPPED, retry_after=wait), step.reason)
        no_time = step.reason is SkipReason.NO_TIME
        self.model.events.append(Event(step.provider, Kind.SKIPPED, wait, no_time=no_time))

    def _record(self, provider: str, outcome: Outcome, skipped: SkipReason | None = None) -> None:
        self.attempts.append(
            Attempt(provider=provider, outcome=outcome, skipped=skipped, circuit=CircuitState.CLOSED, start_time=NOW)
        )


TestChainModel = WalkMachine.TestCase
TestChainModel.settings = EFFORT
