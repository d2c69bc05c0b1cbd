"""Counters and histograms in the Prometheus format."""

from collections.abc import Callable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from relaypost_server.core.breaker import CircuitState, OpenReason
from relaypost_server.core.failover import Attempt
from relaypost_server.core.message import Channel, MessageState
from relaypost_server.core.money import MICROS, Money

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_STATE_VALUE = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}


class Metrics:
    """Every metric of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        where = ("channel", "provider")
        self._attempts = Counter("relaypost_attempts", "Attempts, skips included.", (*where, "kind"), registry=registry)
        self._attempt_seconds = Histogram(
            "relaypost_attempt_duration_seconds",
            "Duration of attempts that were made.",
            where,
            buckets=_SECONDS,
            registry=registry,
        )
        self._messages = Counter(
            "relaypost_messages", "Messages whose walk ended.", ("channel", "state"), registry=registry
        )
        self._message_seconds = Histogram(
            "relaypost_message_duration_seconds",
            "Duration of a whole walk of the chain.",
            ("channel",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._transitions = Counter(
            "relaypost_circuit_transitions",
            "Changes of a circuit's state.",
            (*where, "state", "reason"),
            registry=registry,
        )
        self._circuit = Gauge("relaypost_circuit_state", "0 closed, 1 half-open, 2 open.", where, registry=registry)
        self._alerts = Counter(
            "relaypost_alerts",
            "Times that our own set-up at a provider was at fault.",
            (*where, "kind"),
            registry=registry,
        )
        self._cost = Counter(
            "relaypost_cost", "Estimated cost, in units of the currency.", (*where, "currency"), registry=registry
        )
        self._calls = Counter("relaypost_rpc_calls", "gRPC calls answered.", ("method", "code"), registry=registry)
        self._waiting = Gauge(
            "relaypost_log_waiting_messages", "Messages that wait in memory for the log.", registry=registry
        )
        self._dropped = Counter(
            "relaypost_log_dropped_messages", "Messages that the log will never hold.", registry=registry
        )
        self._cached_children()

    def _cached_children(self) -> None:
        # Looking a child up by its labels costs more than counting: keep them.
        self._attempt_child = cache(self._attempts.labels)
        self._attempt_seconds_child = cache(self._attempt_seconds.labels)
        self._message_child = cache(self._messages.labels)
        self._message_seconds_child = cache(self._message_seconds.labels)
        self._call_child = cache(self._calls.labels)

    def attempt(self, channel: Channel, attempt: Attempt) -> None:
        self._attempt_child(channel, attempt.provider, attempt.kind).inc()
        if attempt.skipped is not None:
            return
        self._attempt_seconds_child(channel, attempt.provider).observe(attempt.duration)
        if attempt.outcome.alert:
            self._alerts.labels(channel, attempt.provider, attempt.kind).inc()
        if attempt.outcome.cost is not None:
            self._count_cost(channel, attempt.provider, attempt.outcome.cost)

    def message(self, channel: Channel, state: MessageState, seconds: float) -> None:
        self._message_child(channel, state).inc()
        self._message_seconds_child(channel).observe(seconds)

    def transition(self, channel: Channel, provider: str, state: CircuitState, reason: OpenReason | None) -> None:
        self._transitions.labels(channel, provider, state, reason or "").inc()

    def watch_circuit(self, channel: Channel, provider: str, state: Callable[[], CircuitState]) -> None:
        """Reads the circuit whenever the metrics are read."""
        self._circuit.labels(channel, provider).set_function(lambda: _STATE_VALUE[state()])

    def watch_waiting(self, count: Callable[[], int]) -> None:
        """Reads the log's backlog whenever the metrics are read."""
        self._waiting.set_function(count)

    def dropped(self, messages: int) -> None:
        self._dropped.inc(messages)

    def call(self, method: str, code: str) -> None:
        self._call_child(method, code).inc()

    def render(self) -> bytes:
        """Everything in the Prometheus text format."""
        return generate_latest(self.registry)

    def _count_cost(self, channel: Channel, provider: str, cost: Money) -> None:
        self._cost.labels(channel, provider, cost.currency).inc(cost.micros / MICROS)
