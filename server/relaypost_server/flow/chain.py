"""The providers of one channel, in order, each behind its circuit."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Generic

import structlog

from relaypost_server.core.advice import Advice, AdviceKind, OwnEvidence
from relaypost_server.core.breaker import Breaker, CircuitSnapshot, CircuitState, Permit, Refusal
from relaypost_server.core.failover import Attempt, Candidate
from relaypost_server.core.health import ChannelHealth, LastFailure, ProviderHealth
from relaypost_server.core.message import Channel, Content
from relaypost_server.core.outcome import Effect, Kind, Outcome
from relaypost_server.core.ports import Provider
from relaypost_server.flow.budgets import BudgetKeeper
from relaypost_server.flow.clock import Clock
from relaypost_server.telemetry.metrics import Metrics

THROTTLE_SECONDS = 1.0
"""How long a provider is left alone after a throttle that named no time."""

log = structlog.get_logger("relaypost.circuit")


def nobody(_: Advice) -> None:
    """Where there are no other gateways to tell."""


class Link(Generic[Content]):
    """One provider of a chain, its circuit, and what was last seen of it."""

    def __init__(
        self,
        provider: Provider[Content],
        *,
        priority: int,
        timeout: float,
        breaker: Breaker,
        window: float,
        metrics: Metrics,
        clock: Clock,
        tell: Callable[[Advice], None] = nobody,
    ) -> None:
        """`timeout`: the longest attempt. `window`: what the breaker's counts look back over. Seconds.

        `tell`: passes on to other gateways what this one found out.
        """
        self.provider: Provider[Content] = provider
        self.priority = priority
        self.candidate = Candidate(provider=provider.name, timeout=timeout)
        self._breaker = breaker
        self._window = window
        self._metrics = metrics
        self._clock = clock
        self._tell = tell
        self._evidence = OwnEvidence()
        self._generation = breaker.generation
        self._last_success: datetime | None = None
        self._last_failure: LastFailure | None = None
        metrics.watch_circuit(provider.channel, provider.name, lambda: self.state(self.now()))

    def now(self) -> float:
        """By the clock of the circuit."""
        return self._clock.monotonic()

    def state(self, now: float) -> CircuitState:
        return self._breaker.state(now)

    def refusal(self, now: float) -> Refusal | None:
        return self._breaker.refusal(now)

    def admit(self, now: float, *, timeout: float) -> Permit | Refusal:
        answer = self._breaker.admit(now, timeout=timeout)
        self.notice(now)
        return answer

    def settle(self, permit: Permit, outcome: Outcome, began: float | None = None) -> None:
        """`began`: the monotonic time at which the provider was asked; None where it was not."""
        now = self._clock.monotonic()
        took = 0.0 if began is None else now - began
        self._breaker.settle(permit, self._effect(outcome, now), now, took=took)
        if outcome.kind is Kind.THROTTLED:
            wait = THROTTLE_SECONDS if outcome.retry_after is None else outcome.retry_after
            self._breaker.cool_down(wait, now)
            self._tell(self._advice(AdviceKind.COOLING, wait))
        self.notice(now)

    def _effect(self, outcome: Outcome, now: float) -> Effect:
        if outcome.given_up_after is None or outcome.neutral:
            return outcome.effect
        return self._breaker.effect_of_timeout(now, had=outcome.given_up_after, own=self.candidate.timeout)

    def bench(self) -> None:
        """Keeps messages away: what the provider takes does not arrive."""
        now = self._clock.monotonic()
        self._breaker.bench(now)
        self.notice(now)

    @property
    def key(self) -> tuple[Channel, str]:
        """What tells it from all other links of a gateway."""
        return self.provider.channel, self.provider.name

    def heed(self, advice: Advice) -> None:
        """Takes over what another gateway found out, as far as it concerns this one."""
        now = self._clock.monotonic()
        if advice.kind is AdviceKind.COOLING:
            self._breaker.cool_down(advice.seconds, now)
        else:
            self._breaker.be_wary(advice.seconds, now)
        self.notice(now)

    def remember(self, attempt: Attempt) -> None:
        """Keeps the attempt for those who ask after the provider's health."""
        self._metrics.attempt(self.provider.channel, attempt)
        if attempt.kind is Kind.ACCEPTED:
            self._last_success = attempt.start_time
        elif attempt.kind is not Kind.SKIPPED:
            self._last_failure = LastFailure(
                time=attempt.start_time,
                kind=attempt.kind,
                code=attempt.outcome.provider_code,
                detail=attempt.outcome.detail,
            )

    def notice(self, now: float) -> None:
        """Reports a change of the circuit's state, once."""
        if self._breaker.generation == self._generation:
            return
        self._generation = self._breaker.generation
        circuit = self._breaker.snapshot(now)
        provider, channel = self.provider.name, self.provider.channel
        self._metrics.transition(channel, provider, circuit.state, circuit.reason)
        event = log.warning if circuit.state is CircuitState.OPEN else log.info
        event(
            f"circuit {circuit.state.value.replace('_', '-')}",
            provider=provider,
            channel=channel.value,
            reason=circuit.reason and circuit.reason.value,
        )
        self._tell_if_opened(circuit, now)

    def _tell_if_opened(self, circuit: CircuitSnapshot, now: float) -> None:
        if self._evidence.suffices(circuit) and circuit.refusal is not None:
            self._tell(self._advice(AdviceKind.OPENED, circuit.refusal.retry_at - now))

    def _advice(self, kind: AdviceKind, seconds: float) -> Advice:
        return Advice(kind=kind, channel=self.provider.channel, provider=self.provider.name, seconds=seconds)

    def health(self, other: Refusal | None = None) -> ProviderHealth:
        """`other`: a refusal that is not the circuit's."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        circuit = self._breaker.snapshot(now)
        self.notice(now)
        refusal = circuit.refusal or other

        def dated(moment: float | None) -> datetime | None:
            return None if moment is None else wall + timedelta(seconds=moment - now)

        return ProviderHealth(
            provider=self.provider.name,
            channel=self.provider.channel,
            priority=self.priority,
            available=refusal is None,
            circuit_state=circuit.state,
            circuit_reason=circuit.reason,
            circuit_change_time=dated(circuit.changed_at),
            retry_time=dated(refusal.retry_at if refusal else None),
            consecutive_failures=circuit.consecutive_failures,
            recent_calls=circuit.recent_calls,
            recent_failures=circuit.recent_failures,
            window=self._window,
            last_success_time=self._last_success,
            last_failure=self._last_failure,
            wary_until_time=dated(circuit.wary_until),
        )


class Chain(Generic[Content]):
    """The links of one channel by priority: 1 is asked first."""

    def __init__(
        self, channel: Channel, links: Sequence[Link[Content]], *, budgets: BudgetKeeper | None = None
    ) -> None:
        """`budgets`: where providers have any."""
        self.channel = channel
        self.links: tuple[Link[Content], ...] = tuple(sorted(links, key=lambda link: link.priority))
        self._in_order: tuple[Candidate, ...] = tuple(link.candidate for link in self.links)
        self._budgets = budgets
        self._by_name: dict[str, Link[Content]] = {link.provider.name: link for link in self.links}

    def __getitem__(self, provider: str) -> Link[Content]:
        return self._by_name[provider]

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """In the order in which they are asked: those that are past their soft budget come last."""
        if self._budgets is None:
            return self._in_order
        prefers_others = self._budgets.prefers_others
        return tuple(sorted(self._in_order, key=lambda c: prefers_others(c.provider)))

    def refusals(self, now: float) -> dict[str, Refusal]:
        """The providers whose circuit, or budget, lets nothing through now."""
        refusals = {}
        for link in self.links:
            refusal = link.refusal(now) or self._over_budget(link, now)
            if refusal is not None:
                refusals[link.provider.name] = refusal
        return refusals

    def health(self) -> ChannelHealth:
        return ChannelHealth(channel=self.channel, providers=tuple(self._health(link) for link in self.links))

    def _health(self, link: Link[Content]) -> ProviderHealth:
        return link.health() if self._budgets is None else link.health(self._over_budget(link, link.now()))

    def _over_budget(self, link: Link[Content], now: float) -> Refusal | None:
        return None if self._budgets is None else self._budgets.refusal(link.provider.name, now)
