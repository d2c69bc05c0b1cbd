"""The chains of providers, and who sends through them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from relaypost_server.assembly.shutdown import Phase
from relaypost_server.assembly.site import Site
from relaypost_server.config import ChosenProvider
from relaypost_server.core.advice import Advice
from relaypost_server.core.breaker import Breaker
from relaypost_server.core.message import Channel, Email, Sms
from relaypost_server.core.ports import MessageLog
from relaypost_server.core.retry_budget import RetryBudget
from relaypost_server.flow.budgets import BudgetKeeper
from relaypost_server.flow.chain import Chain, Link, nobody
from relaypost_server.flow.dispatch import Dispatcher
from relaypost_server.flow.requests import Requests
from relaypost_server.flow.send import Sender
from relaypost_server.flow.silence import Silences
from relaypost_server.flow.suppressions import Screen


@dataclass(frozen=True, slots=True, kw_only=True)
class Chains:
    """Every provider that takes part, by channel and in order."""

    emails: Chain[Email]
    texts: Chain[Sms]
    providers: Sequence[Any]
    budgets: BudgetKeeper | None

    @property
    def channels(self) -> frozenset[Channel]:
        """Those that have a provider."""
        return frozenset(provider.channel for provider in self.providers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Senders:
    """One for each channel."""

    emails: Sender[Email]
    texts: Sender[Sms]


def build_chains(site: Site, budgets: BudgetKeeper | None, tell: Callable[[Advice], None] = nobody) -> Chains:
    chosen = [(provider, provider.build()) for provider in site.config.providers]
    for _, provider in chosen:
        site.shutdown.then(Phase.CONNECTIONS, provider.close)
    links = [(provider.channel, _link(site, choice, provider, tell)) for choice, provider in chosen]
    return Chains(
        emails=Chain(Channel.EMAIL, [link for channel, link in links if channel is Channel.EMAIL], budgets=budgets),
        texts=Chain(Channel.SMS, [link for channel, link in links if channel is Channel.SMS], budgets=budgets),
        providers=[provider for _, provider in chosen],
        budgets=budgets,
    )


def build_senders(
    site: Site, chains: Chains, message_log: MessageLog, requests: Requests, screen: Screen, silences: Silences
) -> Senders:
    return Senders(
        emails=_sender(site, chains.emails, chains.budgets, message_log, requests, screen, silences),
        texts=_sender(site, chains.texts, chains.budgets, message_log, requests, screen, silences),
    )


def _link(site: Site, chosen: ChosenProvider, provider: Any, tell: Callable[[Advice], None]) -> Link[Any]:
    return Link(
        provider,
        priority=chosen.settings.priority,
        timeout=chosen.settings.timeout_seconds,
        breaker=Breaker(chosen.settings.breaker_policy()),
        window=chosen.settings.breaker_rate_seconds,
        metrics=site.metrics,
        clock=site.clock,
        tell=tell,
    )


def _sender(
    site: Site,
    chain: Chain[Any],
    budgets: BudgetKeeper | None,
    message_log: MessageLog,
    requests: Requests,
    screen: Screen,
    silences: Silences,
) -> Sender[Any]:
    gateway = site.config.gateway
    retries = RetryBudget(gateway.retry_ratio)
    dispatcher = Dispatcher(
        chain, limits=gateway.limits, retries=retries, tracing=site.tracing, clock=site.clock, budgets=budgets
    )
    sender: Sender[Any] = Sender(
        dispatcher,
        message_log,
        requests,
        silences,
        limits=gateway.limits,
        metrics=site.metrics,
        clock=site.clock,
        screen=screen,
    )
    site.shutdown.in_flight(sender)
    return sender
