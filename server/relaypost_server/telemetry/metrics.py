"""Counters and histograms in the Prometheus format.

They are counted in plain dictionaries and turned into metric families when
they are read: a send counts four times as fast as with a family's children.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from relaypost_server.core.adjustments import Adjustment, field_name
from relaypost_server.core.breaker import CircuitState, OpenReason
from relaypost_server.core.budgets import Budget
from relaypost_server.core.delivery import EventType
from relaypost_server.core.delivery_rates import DeliveryRate
from relaypost_server.core.failover import Attempt
from relaypost_server.core.message import Channel, MessageState
from relaypost_server.core.money import MICROS
from relaypost_server.core.otp import Conversion
from relaypost_server.core.outcome import Kind
from relaypost_server.core.queue import Lane
from relaypost_server.core.suppression import SuppressionReason
from relaypost_server.core.webhook_ports import Backlog
from relaypost_server.telemetry.families import Durations, Labels, counter, gauge, histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_STATE_VALUE = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}


class Metrics(Collector):
    """Every metric of one gateway."""

    def __init__(self) -> None:
        self._attempts = Counter[Labels]()
        self._attempt_durations = defaultdict[Labels, Durations](Durations)
        self._messages = Counter[Labels]()
        self._message_durations = defaultdict[Labels, Durations](Durations)
        self._transitions = Counter[Labels]()
        self._alerts = Counter[Labels]()
        self._cost_micros = Counter[Labels]()
        self._calls = Counter[Labels]()
        self._requests = Counter[Labels]()
        self._receipts = Counter[Labels]()
        self._callbacks_refused = Counter[Labels]()
        self._http_connections_closed = Counter[Labels]()
        self._otps = Counter[Labels]()
        self._suppressed = Counter[Labels]()
        self._suppressions: Callable[[], int] = lambda: 0
        self._suppressions_age: Callable[[], float] = lambda: 0.0
        self._adjustments = Counter[Labels]()
        self._look_ups = Counter[Labels]()
        self._silences = Counter[Labels]()
        self._unheard: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self._rates: Callable[[], Iterable[DeliveryRate]] = tuple
        self._enqueued = Counter[Labels]()
        self._worked = Counter[Labels]()
        self._webhooks = Counter[Labels]()
        self._webhook_durations = Durations()
        self._webhook_backlog: Callable[[], Backlog] = Backlog
        self._conversions: Callable[[], Iterable[Conversion]] = tuple
        self._priced = Counter[Labels]()
        self._budget_alerts = Counter[Labels]()
        self._spent: Callable[[], Iterable[tuple[str, str, int, Budget]]] = tuple
        self._advice_told = Counter[Labels]()
        self._advice_heard = Counter[Labels]()
        self._advice_connected: Callable[[], bool] = lambda: False
        self._dropped = 0
        self._background_failures = Counter[Labels]()
        self._circuits: dict[Labels, Callable[[], CircuitState]] = {}
        self._waiting: Callable[[], int] = lambda: 0
        self._spool_bytes: Callable[[], int] = lambda: 0
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def attempt(self, channel: Channel, attempt: Attempt) -> None:
        outcome = attempt.outcome
        self._attempts[channel, attempt.provider, outcome.kind] += 1
        if attempt.skipped is not None:
            return
        self._attempt_durations[channel, attempt.provider].observe(attempt.duration)
        if outcome.alert:
            self._alerts[channel, attempt.provider, outcome.kind] += 1
        if outcome.adjustments and outcome.kind is Kind.ACCEPTED:
            self.adjusted(outcome.adjustments)
        if outcome.cost is not None:
            self._cost_micros[channel, attempt.provider, outcome.cost.currency] += outcome.cost.micros

    def message(self, channel: Channel, state: MessageState, seconds: float) -> None:
        self._messages[channel, state] += 1
        self._message_durations[channel,].observe(seconds)

    def adjusted(self, adjustments: Iterable[Adjustment]) -> None:
        """What was changed in a message that was taken on, all of it."""
        for adjustment in adjustments:
            self._adjustments[field_name(adjustment.field), adjustment.kind] += 1

    def transition(self, channel: Channel, provider: str, state: CircuitState, reason: OpenReason | None) -> None:
        self._transitions[channel, provider, state, reason or ""] += 1

    def call(self, method: str, code: str) -> None:
        self._calls[method, code] += 1

    def request(self, result: str) -> None:
        """What became of a request with a request_id: begun, replayed, in_progress or reused."""
        self._requests[result,] += 1

    def enqueued(self, lane: Lane, count: int) -> None:
        """Messages that were put in the queue."""
        self._enqueued[lane,] += count

    def worked(self, lane: Lane, step: str) -> None:
        """A queued message that was tried: done, again or dead."""
        self._worked[lane, step] += 1

    def receipts(self, provider: str, kind: EventType, count: int) -> None:
        """Events that a provider reported, repeats included."""
        self._receipts[provider, kind] += count

    def callback_refused(self, provider: str, reason: str) -> None:
        """A callback that was not answered with 2xx."""
        self._callbacks_refused[provider, reason] += 1

    def http_connection_closed(self, reason: str) -> None:
        """An HTTP connection that the gateway closed: idle, displaced or refused."""
        self._http_connections_closed[reason,] += 1

    def otp(self, event: str, what: str) -> None:
        """Something that happened to a one-time password: sent, verified, not_verified or refused."""
        self._otps[event, what] += 1

    def suppressed(self, channel: Channel, reason: SuppressionReason) -> None:
        """A recipient who got nothing because of the suppression list."""
        self._suppressed[channel, reason] += 1

    def watch_suppressions(self, size: Callable[[], int], age: Callable[[], float]) -> None:
        """Reads the size of the suppression list, and its age in seconds, whenever the metrics are read."""
        self._suppressions = size
        self._suppressions_age = age

    def look_up(self, provider: str, result: str) -> None:
        """What a provider could tell about a message that may have been sent."""
        self._look_ups[provider, result] += 1

    def silence(self, channel: Channel, provider: str, result: str) -> None:
        """What became of a message for which a confirmation was asked, by the provider that took it first."""
        self._silences[channel, provider, result] += 1

    def watch_silences(self, waiting: Callable[[], tuple[int, int]]) -> None:
        """Reads the messages that wait for a confirmation, and their bytes, whenever the metrics are read."""
        self._unheard = waiting

    def watch_delivery_rates(self, rates: Callable[[], Iterable[DeliveryRate]]) -> None:
        """Reads what arrived, by provider and country, whenever the metrics are read."""
        self._rates = rates

    def webhook(self, result: str, seconds: float) -> None:
        """An attempt to deliver a webhook: delivered, retried or dead."""
        self._webhooks[result,] += 1
        self._webhook_durations.observe(seconds)

    def watch_webhooks(self, backlog: Callable[[], Backlog]) -> None:
        """Reads what webhooks wait whenever the metrics are read."""
        self._webhook_backlog = backlog

    def watch_conversions(self, conversions: Callable[[], Iterable[Conversion]]) -> None:
        """Reads the conversions of one-time passwords whenever the metrics are read."""
        self._conversions = conversions

    def priced(self, provider: str, count: int) -> None:
        """Attempts whose price the provider itself has told."""
        if count:
            self._priced[provider,] += count

    def budget_alert(self, kind: str, name: str, limit: str) -> None:
        """A limit, soft or hard, that a provider or caller has reached."""
        self._budget_alerts[kind, name, limit] += 1

    def watch_spend(self, spent: Callable[[], Iterable[tuple[str, str, int, Budget]]]) -> None:
        """Reads kind, name, millionths and budget of each spender whenever the metrics are read."""
        self._spent = spent

    def advice_told(self, result: str, count: int) -> None:
        """Advice to other gateways: published or dropped."""
        self._advice_told[result,] += count

    def advice_heard(self, result: str) -> None:
        """Advice of another gateway: heeded, or why not."""
        self._advice_heard[result,] += 1

    def watch_advice(self, connected: Callable[[], bool]) -> None:
        """Reads whether other gateways are heard whenever the metrics are read."""
        self._advice_connected = connected

    def background_failure(self, task: str) -> None:
        """A round of a background task that failed."""
        self._background_failures[task,] += 1

    def dropped(self, messages: int) -> None:
        """Messages that the log will never hold."""
        self._dropped += messages

    def watch_circuit(self, channel: Channel, provider: str, state: Callable[[], CircuitState]) -> None:
        """Reads the circuit whenever the metrics are read."""
        self._circuits[channel, provider] = state

    def watch_log(self, waiting: Callable[[], int], spool_bytes: Callable[[], int]) -> None:
        """Reads the log's backlog and the size of its spool whenever the metrics are read."""
        self._waiting = waiting
        self._spool_bytes = spool_bytes

    def render(self) -> bytes:
        """Everything in the Prometheus text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        where = ("channel", "provider")
        yield counter("attempts", "Attempts, skips included.", (*where, "kind"), self._attempts.items())
        yield histogram(
            "attempt_duration_seconds", "Duration of attempts that were made.", where, self._attempt_durations.items()
        )
        yield counter("messages", "Messages whose walk ended.", ("channel", "state"), self._messages.items())
        yield histogram(
            "message_duration_seconds", "Duration of whole walks.", ("channel",), self._message_durations.items()
        )
        states = [(labels, _STATE_VALUE[state()]) for labels, state in self._circuits.items()]
        yield gauge("circuit_state", "0 closed, 1 half-open, 2 open.", where, states)
        yield counter(
            "circuit_transitions", "Changes of a circuit.", (*where, "state", "reason"), self._transitions.items()
        )
        yield counter("alerts", "Attempts that found our own set-up at fault.", (*where, "kind"), self._alerts.items())
        cost = [(labels, micros / MICROS) for labels, micros in self._cost_micros.items()]
        yield counter("cost", "Estimated cost, in units of the currency.", (*where, "currency"), cost)
        yield counter("rpc_calls", "gRPC calls answered.", ("method", "code"), self._calls.items())
        yield counter(
            "adjustments", "Changes that were made to messages.", ("field", "kind"), self._adjustments.items()
        )
        yield counter("requests", "Requests with a request_id.", ("result",), self._requests.items())
        yield counter("receipts", "Events that providers reported.", ("provider", "type"), self._receipts.items())
        yield counter(
            "callbacks_refused", "Callbacks that were refused.", ("provider", "reason"), self._callbacks_refused.items()
        )
        yield counter(
            "http_connections_closed",
            "HTTP connections that the gateway closed: idle, displaced (for a newcomer) or refused.",
            ("reason",),
            self._http_connections_closed.items(),
        )
        yield counter(
            "otp_events",
            "One-time passwords: sent (by state), verified (by channel), not_verified and refused (by cause).",
            ("event", "what"),
            self._otps.items(),
        )
        yield counter("suppressed", "Recipients who are suppressed.", ("channel", "reason"), self._suppressed.items())
        yield gauge("suppressions", "Entries of the suppression list.", (), [((), self._suppressions())])
        age = self._suppressions_age()
        yield gauge("suppressions_age_seconds", "Since the list was last read.", (), [((), age)])
        yield counter(
            "look_ups",
            "Questions about messages that may have been sent: settled, ambiguous, not_found or failed.",
            ("provider", "result"),
            self._look_ups.items(),
        )
        yield counter(
            "silences",
            "Messages with confirm_within: confirmed, sent (again), failed, given_up, or why none was waited for.",
            (*where, "result"),
            self._silences.items(),
        )
        messages, size = self._unheard()
        yield gauge("silence_waiting_messages", "Messages that wait for a confirmation.", (), [((), messages)])
        yield gauge("silence_waiting_bytes", "The memory that they take up.", (), [((), size)])
        fates = [
            ((r.channel.value, r.provider, r.country, fate), getattr(r, fate))
            for r in self._rates()
            for fate in ("delivered", "undelivered", "not_its_fault", "unknown")
        ]
        yield gauge(
            "delivery_recent_messages",
            "What became of the messages of the last window, over all gateways; undelivered includes not_its_fault.",
            (*where, "country", "fate"),
            fates,
        )
        yield counter("queue_enqueued", "Messages put in the queue.", ("lane",), self._enqueued.items())
        yield counter(
            "queue_tries", "Tries of queued messages, by what follows.", ("lane", "next"), self._worked.items()
        )
        yield from self._webhook_metrics()
        found = [((c.channel.value, c.provider, c.country), c) for c in self._conversions()]
        by = (*where, "country")
        sent, verified = ([(k, getattr(c, count)) for k, c in found] for count in ("sent", "verified"))
        yield gauge("otp_recent_sent", "Codes of the last window that are over, over all gateways.", by, sent)
        yield gauge("otp_recent_verified", "Those of them that were verified.", by, verified)
        yield counter("prices", "Prices that providers told.", ("provider",), self._priced.items())
        yield from self._budget_metrics()
        yield counter("advice_told", "Advice for other gateways.", ("result",), self._advice_told.items())
        yield counter("advice_heard", "Advice of other gateways.", ("result",), self._advice_heard.items())
        yield gauge("advice_connected", "1 while they are heard.", (), [((), int(self._advice_connected()))])
        yield gauge("log_waiting_messages", "Records that wait for the database.", (), [((), self._waiting())])
        yield gauge("log_spool_bytes", "Size of the local spool.", (), [((), self._spool_bytes())])
        yield counter(
            "background_failures",
            "Rounds of background tasks that failed.",
            ("task",),
            self._background_failures.items(),
        )
        yield counter("log_dropped_messages", "Messages lost to the log.", (), [((), self._dropped)])

    def _webhook_metrics(self) -> Iterator[Metric]:
        yield counter("webhook_attempts", "Attempts to deliver a webhook.", ("result",), self._webhooks.items())
        yield histogram("webhook_duration_seconds", "Duration of those attempts.", (), [((), self._webhook_durations)])
        backlog = self._webhook_backlog()
        yield gauge("webhook_pending", "Deliveries that wait, over all gateways.", (), [((), backlog.pending)])
        yield gauge("webhook_dead", "Deliveries that were given up.", (), [((), backlog.dead)])
        yield gauge("webhook_oldest_seconds", "Age of the oldest that waits.", (), [((), backlog.oldest)])

    def _budget_metrics(self) -> Iterator[Metric]:
        spent = list(self._spent())
        amounts = [((kind, name), micros / MICROS) for kind, name, micros, _ in spent]
        yield gauge("month_spend", "USD spent this month, over all gateways.", ("kind", "name"), amounts)
        limits = [
            ((kind, name, limit), money.micros / MICROS)
            for kind, name, _, budget in spent
            for limit, money in (("soft", budget.soft), ("hard", budget.hard))
            if money is not None
        ]
        yield gauge("month_budget", "USD that may be spent in a month.", ("kind", "name", "limit"), limits)
        yield counter(
            "budget_alerts",
            "Limits of budgets that were reached.",
            ("kind", "name", "limit"),
            self._budget_alerts.items(),
        )
