"""What another gateway's open circuit does to ours: its first failure opens it, for a while."""

import pytest

from relaypost_server.core.breaker import CircuitState, OpenReason, Permit, Refusal, RefusalReason
from relaypost_server.core.outcome import Effect
from tests.core.test_breaker import TIMEOUT, breaker, call, opened


def test_a_wary_circuit_opens_on_its_first_failure() -> None:
    circuit = breaker()
    circuit.be_wary(60.0, 100.0)
    assert circuit.snapshot(159.9).wary_until == 160.0
    assert circuit.refusal(100.0) is None
    call(circuit, Effect.SUCCESS, 101.0)
    call(circuit, Effect.NEUTRAL, 101.0)
    call(circuit, Effect.FAILURE, 159.9)
    assert circuit.snapshot(159.9).reason is OpenReason.ADVISED
    assert circuit.refusal(159.9) == Refusal(RefusalReason.OPEN, 219.9)
    assert circuit.snapshot(159.9).wary_until is None


def test_wariness_ends_with_its_time() -> None:
    circuit = breaker()
    circuit.be_wary(60.0, 0.0)
    assert circuit.snapshot(60.0).wary_until is None
    call(circuit, Effect.FAILURE, 60.0)
    assert circuit.state(60.0) is CircuitState.CLOSED


def test_wariness_ends_with_the_second_success() -> None:
    circuit = breaker()
    call(circuit, Effect.SUCCESS, 0.0)
    circuit.be_wary(60.0, 0.0)
    call(circuit, Effect.SUCCESS, 1.0)
    assert circuit.snapshot(1.0).wary_until == 60.0
    call(circuit, Effect.SUCCESS, 1.0)
    assert circuit.snapshot(1.0).wary_until is None
    call(circuit, Effect.FAILURE, 1.0)
    assert circuit.state(1.0) is CircuitState.CLOSED


def test_longer_advice_renews_wariness_and_shorter_advice_does_not() -> None:
    circuit = breaker()
    circuit.be_wary(60.0, 0.0)
    call(circuit, Effect.SUCCESS, 1.0)
    circuit.be_wary(1.0, 1.0)
    assert circuit.snapshot(1.0).wary_until == 60.0
    circuit.be_wary(60.0, 2.0)
    call(circuit, Effect.SUCCESS, 2.0)
    assert circuit.snapshot(2.0).wary_until == 62.0


@pytest.mark.parametrize("seconds", [1e9, float("inf")])
def test_no_advice_makes_wary_for_longer_than_the_longest_open_time(seconds: float) -> None:
    circuit = breaker()
    circuit.be_wary(seconds, 0.0)
    assert circuit.snapshot(0.0).wary_until == 300.0


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("-inf"), float("nan")])
def test_advice_without_a_time_says_nothing(seconds: float) -> None:
    circuit = breaker()
    circuit.be_wary(seconds, 10.0)
    call(circuit, Effect.FAILURE, 10.0)
    assert circuit.state(10.0) is CircuitState.CLOSED


def test_advice_moves_no_open_circuit_and_is_not_remembered_by_it() -> None:
    circuit = opened()
    circuit.be_wary(300.0, 59.0)
    assert circuit.refusal(59.0) == Refusal(RefusalReason.OPEN, 60.0)
    call(circuit, Effect.SUCCESS, 60.0)
    circuit.be_wary(300.0, 60.0)
    call(circuit, Effect.SUCCESS, 60.0)
    assert circuit.state(60.0) is CircuitState.CLOSED
    assert circuit.snapshot(60.0).wary_until is None
    call(circuit, Effect.FAILURE, 60.0)
    assert circuit.state(60.0) is CircuitState.CLOSED


def test_advice_ends_no_probe() -> None:
    circuit = opened()
    probe = circuit.admit(60.0, timeout=TIMEOUT)
    assert isinstance(probe, Permit)
    circuit.be_wary(300.0, 61.0)
    assert circuit.refusal(61.0) == Refusal(RefusalReason.PROBING, 75.0)
    circuit.settle(probe, Effect.SUCCESS, 62.0)
    call(circuit, Effect.SUCCESS, 62.0)
    assert circuit.state(62.0) is CircuitState.CLOSED


def test_advice_that_is_heard_twice_is_heard_once() -> None:
    circuit = breaker()
    circuit.be_wary(60.0, 0.0)
    call(circuit, Effect.SUCCESS, 0.0)
    circuit.be_wary(60.0, 0.0)
    call(circuit, Effect.SUCCESS, 0.0)
    assert circuit.snapshot(0.0).wary_until is None


def test_the_usual_reason_is_given_where_it_holds_as_well() -> None:
    circuit = breaker(failures_to_open=1)
    circuit.be_wary(60.0, 0.0)
    call(circuit, Effect.FAILURE, 0.0)
    assert circuit.snapshot(0.0).reason is OpenReason.CONSECUTIVE_FAILURES
