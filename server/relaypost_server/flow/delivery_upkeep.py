"""Keeps count of what arrives, and benches providers that take messages and do not deliver them."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from relaypost_server.core.background import Task
from relaypost_server.core.delivery_rates import DeliveryRate, Fate, SicknessPolicy, rates
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.flow.background import Background
from relaypost_server.flow.chain import Chain, Link
from relaypost_server.flow.clock import Clock
from relaypost_server.telemetry.metrics import Metrics

ROUND_SECONDS = 30.0
"""Shorter than circuits stay open, so that one stays open for as long as the counts say."""

log = structlog.get_logger("relaypost.delivery")


class FateLog(Protocol):
    """Where receipts are counted."""

    async def fates(self, providers: Collection[str], *, created: tuple[datetime, datetime]) -> Sequence[Fate]:
        """What became of messages that these providers took, created between two times. Raises LogUnavailableError."""
        ...


class DeliveryUpkeep(Background):
    """Counts every ROUND_SECONDS, over all gateways."""

    def __init__(
        self,
        fate_log: FateLog,
        chains: Sequence[Chain[Any]],
        *,
        reporting: Collection[str],
        window: float,
        settle: float,
        policy: SicknessPolicy,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """`reporting`: the providers that report receipts. `window`: what the counts look back over.

        `settle`: messages younger than this are left out, for their receipts may be on their way. Seconds.
        """
        self._log = fate_log
        self._chains = chains
        self._reporting = reporting
        self._window = window
        self._settle = settle
        self._policy = policy
        self._clock = clock
        self.rates: Sequence[DeliveryRate] = ()
        """As they were counted last."""
        metrics.watch_delivery_rates(lambda: self.rates)

    def tasks(self) -> Sequence[Task]:
        return [Task(name="delivery_counts", round=self._round, pause=ROUND_SECONDS)] if self._reporting else []

    async def round(self) -> None:
        """Counts and benches, once. Raises LogUnavailableError."""
        now = self._clock.wall()
        created = now - timedelta(seconds=self._window), now - timedelta(seconds=self._settle)
        self.rates = rates(await self._log.fates(self._reporting, created=created), window=self._window)
        for chain in self._chains:
            for link in chain.links:
                found = [r for r in self.rates if (r.channel, r.provider) == (chain.channel, link.provider.name)]
                if self._policy.is_sick(found) and self._has_another(chain, link):
                    link.bench()

    def _has_another(self, chain: Chain[Any], link: Link[Any]) -> bool:
        """Whether another provider would take the next message: a doubtful one is better than none."""
        now = self._clock.monotonic()
        return any(other is not link and other.refusal(now) is None for other in chain.links)

    async def _round(self) -> None:
        try:
            await self.round()
        except LogUnavailableError:
            self.rates = ()  # Outdated rates are not shown.
            raise
