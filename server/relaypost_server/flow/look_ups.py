"""Asks providers about messages that may have been sent. In the background, a few at a time."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import structlog

from relaypost_server.core.background import Task
from relaypost_server.core.look_ups import Answering, Doubt, LookUpError, settled_by
from relaypost_server.core.ports import DeliveryLog
from relaypost_server.flow.background import Background
from relaypost_server.telemetry.metrics import Metrics

ROUND_SECONDS = 30.0
MOST_IN_A_ROUND = 10
"""Questions to one provider."""

log = structlog.get_logger("relaypost.look_ups")


class DoubtLog(Protocol):
    """Where messages are found that need to be asked about."""

    async def claim(self, provider: str, limit: int) -> Sequence[Doubt]:
        """At most `limit` lost answers of the provider whose turn it is, over all gateways.

        Raises LogUnavailableError.
        """
        ...


class LookUps(Background):
    """The questions of one gateway."""

    def __init__(
        self, doubts: DoubtLog, deliveries: DeliveryLog, providers: Sequence[Answering], metrics: Metrics
    ) -> None:
        self._doubts = doubts
        self._deliveries = deliveries
        self._providers = [p for p in providers if p.looks_up]
        self._metrics = metrics

    def tasks(self) -> Sequence[Task]:
        return [
            Task(name=f"status_query_{provider.name}", round=partial(self.round, provider), pause=ROUND_SECONDS)
            for provider in self._providers
        ]

    async def round(self, provider: Answering) -> None:
        """Asks about the messages whose turn it is. Raises LogUnavailableError."""
        for doubt in await self._doubts.claim(provider.name, MOST_IN_A_ROUND):
            try:
                result = await self._settle(provider, doubt)
            except LookUpError as error:
                result = "failed"
                log.warning("look-up failed", provider=provider.name, message_id=doubt.message_id, why=str(error))
            self._metrics.look_up(provider.name, result)
            await asyncio.sleep(provider.look_up_pause)

    async def _settle(self, provider: Answering, doubt: Doubt) -> str:
        found = await provider.look_up(doubt)
        certain = settled_by(doubt, found, by_our_id=provider.by_our_id)
        if not certain:
            return "ambiguous" if found else "not_found"
        await self._deliveries.record(certain)
        log.info("message settled by a look-up", provider=provider.name, message_id=doubt.message_id)
        return "settled"
