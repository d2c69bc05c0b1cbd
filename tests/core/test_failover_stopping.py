"""The chain while the gateway shuts down: no attempt is started, and the walk may go on elsewhere."""

from datetime import UTC, datetime

import pytest

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.failover import (
    Attempt,
    Candidate,
    Ending,
    Finish,
    Skip,
    SkipReason,
    decide,
    is_final,
    judge,
)
from relaypost_server.core.message import Guarantee
from relaypost_server.core.outcome import Kind, Outcome

CHAIN = [Candidate(provider=name, timeout=10.0) for name in ("a", "b")]
STOPPING = SkipReason.SHUTTING_DOWN


def attempt(provider: str, kind: Kind, skipped: SkipReason | None = None) -> Attempt:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Attempt(
        provider=provider, outcome=Outcome(kind=kind), skipped=skipped, circuit=CircuitState.CLOSED, start_time=now
    )


def stopping(*attempts: Attempt, **changes: bool) -> object:
    return decide(CHAIN, attempts, refusals={}, time_left=14.8, stopping=True, **changes)


@pytest.mark.parametrize("kind", [Kind.FAULTED, Kind.UNCONFIRMED])
def test_the_next_provider_is_passed_over_and_none_follows(kind: Kind) -> None:
    assert stopping(attempt("a", kind)) == Skip(provider="b", reason=STOPPING)
    assert is_final(attempt("b", Kind.SKIPPED, STOPPING), Guarantee.AT_LEAST_ONCE)


def test_nothing_is_begun_and_a_new_try_may_succeed_elsewhere() -> None:
    assert stopping() == Skip(provider="a", reason=STOPPING)
    verdict = judge([attempt("a", Kind.SKIPPED, STOPPING)])
    assert (verdict.ending, verdict.retry_after) == (Ending.EXHAUSTED, 1.0)


def test_no_provider_is_asked_a_second_time() -> None:
    tried = attempt("a", Kind.UNREACHABLE), attempt("b", Kind.UNREACHABLE)
    assert stopping(*tried, may_try_again=True) == Finish(verdict=judge(tried))


def test_a_caller_who_has_gone_gets_the_verdict_of_what_was_tried() -> None:
    tried = (attempt("a", Kind.UNCONFIRMED),)
    assert stopping(*tried, abandoned=True) == Finish(verdict=judge(tried, cut_short=True))


@pytest.mark.parametrize(
    ("attempts", "cut_short"),
    [
        ([attempt("a", Kind.UNCONFIRMED)], False),
        ([attempt("a", Kind.UNCONFIRMED), attempt("b", Kind.SKIPPED, SkipReason.CIRCUIT_OPEN)], False),
        ([attempt("a", Kind.UNCONFIRMED), attempt("b", Kind.SKIPPED, STOPPING)], True),
    ],
)
def test_what_may_have_been_sent_was_cut_short_where_a_provider_was_left(
    attempts: list[Attempt], cut_short: bool
) -> None:
    verdict = judge(attempts)
    assert (verdict.ending, verdict.cut_short) == (Ending.UNCONFIRMED, cut_short)
