"""What it costs to pass over a provider whose circuit is open."""

import timeit

from relaypost_server.core.breaker import Breaker, BreakerPolicy, Permit
from relaypost_server.core.failover import Candidate, decide
from relaypost_server.core.outcome import Effect

LOOPS = 100_000


def measure() -> tuple[float, float]:
    """Microseconds to be refused by the circuit, and to be refused and decide to skip."""
    circuit = Breaker(BreakerPolicy())
    permit = circuit.admit(0.0, timeout=10.0)
    assert isinstance(permit, Permit)
    circuit.settle(permit, Effect.ACCOUNT_FAULT, 0.0)
    chain = [Candidate(provider=name, timeout=10.0) for name in ("ses", "sendgrid", "smtp")]

    def decide_to_skip() -> None:
        refusal = circuit.refusal(1.0)
        assert refusal is not None
        decide(chain, (), refusals={"ses": refusal}, time_left=14.8)

    return _microseconds(lambda: circuit.admit(1.0, timeout=10.0)), _microseconds(decide_to_skip)


def _microseconds(call: object) -> float:
    return min(timeit.repeat(call, number=LOOPS, repeat=5)) / LOOPS * 1e6  # type: ignore[arg-type]
