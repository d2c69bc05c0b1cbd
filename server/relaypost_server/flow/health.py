"""Gathers the state of all chains and of the message log."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from relaypost_server.core.delivery_rates import DeliveryRate
from relaypost_server.core.health import ChannelHealth, CountryConversion, GatewayHealth, Health, MessageLogHealth
from relaypost_server.core.message import Email, Sms
from relaypost_server.core.otp import Conversion
from relaypost_server.flow.background import BackgroundTasks
from relaypost_server.flow.chain import Chain


class WatchedLog(Protocol):
    """A message log that knows how it is."""

    def health(self) -> MessageLogHealth: ...


class CountedConversions(Protocol):
    """The conversions of one-time passwords, as they were counted last."""

    window: float
    """Seconds that they look back over."""
    conversions: Sequence[Conversion]


class CountedDeliveries(Protocol):
    """What arrived, as it was counted last."""

    rates: Sequence[DeliveryRate]


class HealthReader:
    """Reads only: it takes no permit and calls nobody."""

    def __init__(
        self,
        chains: Sequence[Chain[Email] | Chain[Sms]],
        message_log: WatchedLog,
        *,
        requests_without_log: bool = False,
        otps: CountedConversions | None = None,
        deliveries: CountedDeliveries | None = None,
        tasks: BackgroundTasks | None = None,
    ) -> None:
        self._chains = chains
        self._log = message_log
        self._requests_without_log = requests_without_log
        self._otps = otps
        self._deliveries = deliveries
        self._tasks = tasks

    def read(self) -> Health:
        return Health(
            channels=tuple(self._with_rates(self._with_conversions(chain.health())) for chain in self._chains),
            message_log=self._message_log(),
        )

    def read_gateway(self) -> GatewayHealth:
        return GatewayHealth(message_log=self._message_log(), tasks=self._tasks.health() if self._tasks else ())

    def _message_log(self) -> MessageLogHealth:
        log = self._log.health()
        return replace(log, takes_request_ids=log.available or self._requests_without_log)

    def _with_rates(self, health: ChannelHealth) -> ChannelHealth:
        if self._deliveries is None or not self._deliveries.rates:
            return health
        found: dict[str, list[DeliveryRate]] = defaultdict(list)
        for rate in self._deliveries.rates:
            if rate.channel is health.channel:
                found[rate.provider].append(rate)
        providers = [replace(p, delivery_rates=tuple(found[p.provider])) for p in health.providers]
        return replace(health, providers=tuple(providers))

    def _with_conversions(self, health: ChannelHealth) -> ChannelHealth:
        if self._otps is None or not self._otps.conversions:
            return health
        found: dict[str, list[CountryConversion]] = defaultdict(list)
        for each in self._otps.conversions:
            if each.channel is health.channel:
                counted = CountryConversion(
                    country=each.country, sent=each.sent, verified=each.verified, window=self._otps.window
                )
                found[each.provider].append(counted)
        providers = [replace(p, conversions=tuple(found[p.provider])) for p in health.providers]
        return replace(health, providers=tuple(providers))
