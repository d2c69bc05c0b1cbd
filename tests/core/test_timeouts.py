"""What a time-out proves: an attempt that a caller's deadline cut short proves nothing."""

import pytest

from relaypost_server.core.breaker import CircuitState, OpenReason, Permit
from relaypost_server.core.outcome import Effect
from relaypost_server.core.timeouts import TimeoutEvidence
from tests.core.test_breaker import TIMEOUT, breaker, call, opened

OWN = 10.0


def after(*successes: tuple[float, float], window: float = 30.0) -> TimeoutEvidence:
    """`successes`: when each ended, and how many seconds it took."""
    evidence = TimeoutEvidence(window)
    for now, took in successes:
        evidence.succeeded(now, took)
    return evidence


@pytest.mark.parametrize(
    ("had", "own", "effect"),
    [
        (2.9, OWN, Effect.NEUTRAL),
        (3.0, OWN, Effect.FAILURE),
        (10.0, OWN, Effect.FAILURE),
        (1.9, 2.0, Effect.NEUTRAL),
        (2.0, 2.0, Effect.FAILURE),
    ],
)
def test_without_a_success_three_seconds_or_the_providers_own_time_out_are_a_failure(
    had: float, own: float, effect: Effect
) -> None:
    assert after().effect(100.0, had=had, own=own) is effect


@pytest.mark.parametrize(
    ("had", "own", "effect"),
    [
        (1.4, OWN, Effect.NEUTRAL),
        (2.5, OWN, Effect.NEUTRAL),
        (2.6, OWN, Effect.FAILURE),
        (2.0, 2.0, Effect.FAILURE),
    ],
)
def test_twice_the_slowest_success_or_the_own_time_out_is_a_failure(had: float, own: float, effect: Effect) -> None:
    evidence = after((99.0, 0.2), (99.5, 1.3), (100.0, 0.1))
    assert evidence.effect(100.0, had=had, own=own) is effect


def test_a_success_that_left_the_window_says_nothing() -> None:
    evidence = after((100.0, 0.1))
    assert evidence.effect(126.0, had=0.2, own=OWN) is Effect.FAILURE
    assert evidence.effect(131.0, had=0.2, own=OWN) is Effect.NEUTRAL


def test_a_breaker_learns_how_long_its_successes_took() -> None:
    circuit = breaker()
    assert circuit.effect_of_timeout(0.0, had=2.0, own=OWN) is Effect.NEUTRAL
    permit = circuit.admit(0.0, timeout=TIMEOUT)
    assert isinstance(permit, Permit)
    circuit.settle(permit, Effect.SUCCESS, 1.0, took=1.0)
    assert circuit.effect_of_timeout(1.0, had=1.9, own=OWN) is Effect.NEUTRAL
    assert circuit.effect_of_timeout(1.0, had=2.0, own=OWN) is Effect.FAILURE


def test_the_probes_that_close_a_circuit_tell_how_long_its_provider_takes() -> None:
    circuit = opened()
    for _ in range(2):
        permit = circuit.admit(60.0, timeout=TIMEOUT)
        assert isinstance(permit, Permit)
        circuit.settle(permit, Effect.SUCCESS, 60.0, took=0.5)
    assert circuit.state(60.0) is CircuitState.CLOSED
    assert circuit.effect_of_timeout(60.0, had=1.0, own=OWN) is Effect.FAILURE


def test_results_of_an_older_generation_tell_nothing() -> None:
    circuit = breaker()
    late = circuit.admit(0.0, timeout=TIMEOUT)
    assert isinstance(late, Permit)
    for _ in range(5):
        call(circuit, Effect.FAILURE, 0.0)
    circuit.settle(late, Effect.SUCCESS, 1.0, took=0.1)
    assert circuit.snapshot(1.0).reason is OpenReason.CONSECUTIVE_FAILURES
    assert circuit.effect_of_timeout(1.0, had=1.0, own=OWN) is Effect.NEUTRAL


def test_a_probe_settled_again_does_not_tell_how_long_the_next_one_takes() -> None:
    circuit = opened()
    first = circuit.admit(60.0, timeout=TIMEOUT)
    assert isinstance(first, Permit)
    circuit.settle(first, Effect.NEUTRAL, 60.0)
    assert isinstance(circuit.admit(60.0, timeout=TIMEOUT), Permit)
    circuit.settle(first, Effect.SUCCESS, 61.0, took=0.1)
    assert circuit.effect_of_timeout(61.0, had=1.0, own=OWN) is Effect.NEUTRAL
