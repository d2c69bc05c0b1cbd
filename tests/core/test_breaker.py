"""The circuit breaker, rule by rule. Time is a number that the test turns."""

import pytest

from relaypost_server.core.breaker import (
    Breaker,
    BreakerPolicy,
    CircuitState,
    OpenReason,
    Permit,
    Refusal,
    RefusalReason,
)
from relaypost_server.core.outcome import Effect

TIMEOUT = 10.0


def breaker(jitter: float = 0.0, **policy: float | bool) -> Breaker:
    return Breaker(BreakerPolicy(**policy), draw=lambda: jitter)  # type: ignore[arg-type]


def call(circuit: Breaker, effect: Effect, now: float) -> None:
    """One call that is admitted and ends at once."""
    permit = circuit.admit(now, timeout=TIMEOUT)
    assert isinstance(permit, Permit)
    circuit.settle(permit, effect, now)


def opened(now: float = 0.0, **policy: float | bool) -> Breaker:
    circuit = breaker(**policy)
    for _ in range(5):
        call(circuit, Effect.FAILURE, now)
    return circuit


def test_opens_on_exactly_the_fifth_consecutive_failure() -> None:
    circuit = breaker()
    for _ in range(4):
        call(circuit, Effect.FAILURE, 1.0)
    assert circuit.state(1.0) is CircuitState.CLOSED
    call(circuit, Effect.FAILURE, 1.0)
    assert circuit.state(1.0) is CircuitState.OPEN
    assert circuit.snapshot(1.0).reason is OpenReason.CONSECUTIVE_FAILURES


def test_a_success_between_failures_starts_the_count_anew() -> None:
    circuit = breaker()
    for effect in [Effect.FAILURE] * 4 + [Effect.SUCCESS] + [Effect.FAILURE] * 4:
        call(circuit, effect, 1.0)
    assert circuit.state(1.0) is CircuitState.CLOSED


def test_an_open_circuit_refuses_and_says_until_when() -> None:
    assert opened(now=100.0).admit(101.0, timeout=TIMEOUT) == Refusal(RefusalReason.OPEN, 160.0)


def test_half_opens_after_sixty_seconds_and_closes_on_the_second_success() -> None:
    circuit = opened()
    assert circuit.state(59.9) is CircuitState.OPEN
    assert circuit.state(60.0) is CircuitState.HALF_OPEN
    call(circuit, Effect.SUCCESS, 60.0)
    assert circuit.state(60.0) is CircuitState.HALF_OPEN
    call(circuit, Effect.SUCCESS, 60.0)
    assert circuit.state(60.0) is CircuitState.CLOSED


@pytest.mark.parametrize(
    ("effect", "reason"),
    [(Effect.FAILURE, OpenReason.PROBE_FAILED), (Effect.ACCOUNT_FAULT, OpenReason.ACCOUNT)],
)
def test_any_failure_in_half_open_reopens_for_the_whole_time(effect: Effect, reason: OpenReason) -> None:
    circuit = opened()
    call(circuit, Effect.SUCCESS, 60.0)
    call(circuit, effect, 61.0)
    assert circuit.snapshot(61.0).reason is reason
    assert circuit.state(120.9) is CircuitState.OPEN
    assert circuit.state(121.0) is CircuitState.HALF_OPEN


def test_after_reopening_two_new_successes_are_needed() -> None:
    circuit = opened()
    call(circuit, Effect.SUCCESS, 60.0)
    call(circuit, Effect.FAILURE, 60.0)
    call(circuit, Effect.SUCCESS, 120.0)
    assert circuit.state(120.0) is CircuitState.HALF_OPEN


def test_half_open_admits_one_probe_at_a_time() -> None:
    circuit = opened()
    probe = circuit.admit(60.0, timeout=TIMEOUT)
    assert isinstance(probe, Permit)
    refusals = [circuit.admit(60.0, timeout=TIMEOUT) for _ in range(100)]
    assert refusals == [Refusal(RefusalReason.PROBING, 75.0)] * 100
    circuit.settle(probe, Effect.SUCCESS, 61.0)
    assert isinstance(circuit.admit(61.0, timeout=TIMEOUT), Permit)


def test_a_lost_probe_counts_as_a_failure_when_its_lease_ends() -> None:
    """The lease is the attempt's time-out and five seconds: no probe can wedge the circuit."""
    circuit = opened()
    circuit.admit(60.0, timeout=TIMEOUT)
    assert circuit.state(74.9) is CircuitState.HALF_OPEN
    assert circuit.state(75.0) is CircuitState.OPEN
    assert circuit.state(134.9) is CircuitState.OPEN
    assert circuit.state(135.0) is CircuitState.HALF_OPEN


def test_a_lost_probe_that_nobody_looks_for_ends_up_half_open_again() -> None:
    circuit = opened()
    circuit.admit(60.0, timeout=TIMEOUT)
    assert isinstance(circuit.admit(1000.0, timeout=TIMEOUT), Permit)


def test_the_result_of_a_lost_probe_comes_too_late() -> None:
    circuit = opened()
    probe = circuit.admit(60.0, timeout=TIMEOUT)
    assert isinstance(probe, Permit)
    assert circuit.state(140.0) is CircuitState.HALF_OPEN
    circuit.settle(probe, Effect.SUCCESS, 140.0)
    call(circuit, Effect.SUCCESS, 140.0)
    assert circuit.state(140.0) is CircuitState.HALF_OPEN


@pytest.mark.parametrize("effect", list(Effect))
def test_results_from_before_the_opening_change_nothing(effect: Effect) -> None:
    circuit = breaker()
    late = [circuit.admit(0.0, timeout=TIMEOUT) for _ in range(10)]
    for _ in range(5):
        call(circuit, Effect.FAILURE, 0.0)
    assert circuit.state(60.0) is CircuitState.HALF_OPEN
    before = circuit.snapshot(60.0)
    for permit in late:
        assert isinstance(permit, Permit)
        circuit.settle(permit, effect, 60.0)
    assert circuit.snapshot(60.0) == before


def test_neutral_outcomes_neither_open_nor_close() -> None:
    circuit = breaker()
    for _ in range(1000):
        call(circuit, Effect.NEUTRAL, 0.0)
    assert circuit.state(0.0) is CircuitState.CLOSED
    half_open = opened()
    for _ in range(1000):
        call(half_open, Effect.NEUTRAL, 60.0)
    assert half_open.state(60.0) is CircuitState.HALF_OPEN


def test_neutral_outcomes_do_not_break_a_row_of_failures() -> None:
    circuit = breaker()
    for effect in [Effect.FAILURE] * 4 + [Effect.NEUTRAL, Effect.FAILURE]:
        call(circuit, effect, 0.0)
    assert circuit.state(0.0) is CircuitState.OPEN


def test_an_account_fault_opens_at_once() -> None:
    circuit = breaker()
    call(circuit, Effect.ACCOUNT_FAULT, 0.0)
    assert circuit.snapshot(0.0).reason is OpenReason.ACCOUNT


def test_a_flapping_provider_is_opened_by_its_rate() -> None:
    """Every second call fails, so five in a row never do."""
    circuit = breaker()
    for number in range(19):
        call(circuit, Effect.FAILURE if number % 2 else Effect.SUCCESS, number * 0.1)
    assert circuit.state(2.0) is CircuitState.CLOSED
    call(circuit, Effect.FAILURE, 2.0)
    assert circuit.snapshot(2.0).reason is OpenReason.FAILURE_RATE


def test_old_failures_do_not_count_towards_the_rate() -> None:
    circuit = breaker()
    for number in range(200):
        call(circuit, Effect.FAILURE if number % 2 else Effect.SUCCESS, number * 4.0)
    assert circuit.state(800.0) is CircuitState.CLOSED


def test_the_rate_starts_anew_when_the_circuit_closes() -> None:
    circuit = breaker(rate_seconds=1000.0)
    for number in range(20):
        call(circuit, Effect.FAILURE if number % 2 else Effect.SUCCESS, 0.0)
    for _ in range(2):
        call(circuit, Effect.SUCCESS, 60.0)
    call(circuit, Effect.FAILURE, 60.0)
    assert circuit.state(60.0) is CircuitState.CLOSED


def test_a_throttled_provider_is_left_alone_without_opening() -> None:
    circuit = breaker()
    circuit.cool_down(7.0, 0.0)
    assert circuit.admit(6.9, timeout=TIMEOUT) == Refusal(RefusalReason.COOLING, 7.0)
    assert circuit.state(6.9) is CircuitState.CLOSED
    assert isinstance(circuit.admit(7.0, timeout=TIMEOUT), Permit)


def test_a_shorter_cool_down_does_not_end_a_longer_one() -> None:
    circuit = breaker()
    circuit.cool_down(7.0, 0.0)
    circuit.cool_down(1.0, 1.0)
    assert circuit.refusal(6.0) is not None


def test_no_cool_down_outlasts_a_day() -> None:
    circuit = breaker()
    circuit.cool_down(1e9, 0.0)
    assert circuit.refusal(24 * 3600.0) is None


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_jitter_lengthens_the_open_time_by_a_tenth_at_most(jitter: float) -> None:
    circuit = breaker(jitter)
    for _ in range(5):
        call(circuit, Effect.FAILURE, 0.0)
    assert circuit.state(60.0 + 6.0 * jitter - 0.01) is CircuitState.OPEN
    assert circuit.state(60.0 + 6.0 * jitter) is CircuitState.HALF_OPEN


def test_escalation_doubles_each_reopening_up_to_five_minutes() -> None:
    circuit, now, open_times = opened(escalate=True), 0.0, []
    for _ in range(5):
        refusal = circuit.refusal(now)
        assert refusal is not None
        open_times.append(refusal.retry_at - now)
        now = refusal.retry_at
        call(circuit, Effect.FAILURE, now)
    assert open_times == [60.0, 120.0, 240.0, 300.0, 300.0]


def test_reading_takes_no_permit() -> None:
    circuit = opened()
    for _ in range(100):
        circuit.state(60.0)
        circuit.refusal(60.0)
        circuit.snapshot(60.0)
    assert isinstance(circuit.admit(60.0, timeout=TIMEOUT), Permit)


def test_a_snapshot_tells_what_people_ask() -> None:
    circuit = breaker()
    call(circuit, Effect.SUCCESS, 1.0)
    call(circuit, Effect.FAILURE, 2.0)
    snapshot = circuit.snapshot(2.0)
    assert (snapshot.recent_calls, snapshot.recent_failures, snapshot.consecutive_failures) == (2, 1, 1)
    assert snapshot.changed_at is None


def test_an_open_circuit_of_a_cooling_provider_names_the_later_of_both_times() -> None:
    """A caller told to come back at the earlier one would only be refused again."""
    circuit = opened(now=100.0)
    circuit.cool_down(300.0, 101.0)
    assert circuit.refusal(101.0) == Refusal(RefusalReason.OPEN, 401.0)
    assert circuit.refusal(200.0) == Refusal(RefusalReason.COOLING, 401.0)


def test_a_neutral_call_opens_nothing() -> None:
    circuit = breaker()
    call(circuit, Effect.NEUTRAL, 1.0)
    assert circuit.state(1.0) is CircuitState.CLOSED


def test_the_policy_begins_with_the_documented_numbers() -> None:
    assert BreakerPolicy() == BreakerPolicy(
        failures_to_open=5,
        open_seconds=60.0,
        successes_to_close=2,
        rate_to_open=0.5,
        rate_calls=20,
        rate_seconds=30.0,
        jitter=0.1,
        escalate=False,
        longest_open_seconds=300.0,
        lease_slack=5.0,
    )


def test_a_probe_settled_again_says_nothing_about_the_next_probe() -> None:
    circuit = opened()
    first = circuit.admit(60.0, timeout=TIMEOUT)
    assert isinstance(first, Permit)
    circuit.settle(first, Effect.NEUTRAL, 61.0)
    second = circuit.admit(61.0, timeout=TIMEOUT)
    assert isinstance(second, Permit)
    circuit.settle(first, Effect.ACCOUNT_FAULT, 62.0)
    assert circuit.refusal(62.0) == Refusal(RefusalReason.PROBING, 76.0)


def test_the_result_of_a_lost_probe_comes_too_late_even_where_nobody_looked_in_between() -> None:
    circuit = opened(successes_to_close=1)
    probe = circuit.admit(60.0, timeout=TIMEOUT)
    assert isinstance(probe, Permit)
    circuit.settle(probe, Effect.SUCCESS, 75.0)
    assert circuit.state(75.0) is CircuitState.OPEN


def test_a_benched_circuit_is_open_for_as_long_as_it_is_benched_and_says_why() -> None:
    circuit = breaker()
    before = circuit.admit(0.0, timeout=TIMEOUT)
    assert isinstance(before, Permit)
    circuit.bench(0.0)
    assert circuit.snapshot(0.0).reason is OpenReason.UNDELIVERED
    circuit.settle(before, Effect.SUCCESS, 1.0)
    assert circuit.refusal(1.0) == Refusal(RefusalReason.OPEN, 60.0)
    circuit.bench(50.0)
    assert circuit.refusal(50.0) == Refusal(RefusalReason.OPEN, 110.0)
    assert circuit.generation == 1
    circuit.bench(50.0)
    assert circuit.state(109.9) is CircuitState.OPEN
    assert circuit.state(110.0) is CircuitState.HALF_OPEN


def test_benching_ends_a_probe_and_shortens_no_open_time() -> None:
    circuit = opened(open_seconds=60.0, escalate=True)
    probe = circuit.admit(60.0, timeout=TIMEOUT)
    assert isinstance(probe, Permit)
    circuit.bench(61.0)
    assert circuit.refusal(61.0) == Refusal(RefusalReason.OPEN, 181.0)
    circuit.settle(probe, Effect.SUCCESS, 62.0)
    assert circuit.state(62.0) is CircuitState.OPEN
    lucky = breaker(jitter=1.0)
    lucky.bench(0.0)
    lucky.bench(1.0)
    assert lucky.refusal(1.0) == Refusal(RefusalReason.OPEN, 66.0)
