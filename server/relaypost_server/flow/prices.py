"""Asks providers, politely and some time after, what messages cost."""

from collections.abc import Sequence

import structlog

from relaypost_server.core.background import Task
from relaypost_server.core.price_ports import PriceLog, PriceReader, PricesUnavailableError
from relaypost_server.flow.background import Background
from relaypost_server.telemetry.metrics import Metrics

ROUND_SECONDS = 60.0

log = structlog.get_logger("relaypost.prices")


class PriceFetcher(Background):
    """One provider's prices: once a minute, as many as it is to be asked about."""

    def __init__(self, reader: PriceReader, prices: PriceLog, metrics: Metrics) -> None:
        self._reader = reader
        self._prices = prices
        self._metrics = metrics
        self._failing = False

    def tasks(self) -> Sequence[Task]:
        name = f"prices_{self._reader.name}"
        return [Task(name=name, round=self.round, pause=ROUND_SECONDS, first=ROUND_SECONDS)]

    async def round(self) -> None:
        """Fetches the prices that are due. Raises LogUnavailableError."""
        due = await self._prices.due(self._reader.name, self._reader.prices_a_minute)
        if not due:
            return
        try:
            told = await self._reader.prices(due)
        except PricesUnavailableError as error:
            self._report(error)
            await self._prices.put_off(due)
            return
        self._failing = False
        known = [(each, told[each.provider_message_id]) for each in due if each.provider_message_id in told]
        await self._prices.keep(known)
        self._metrics.priced(self._reader.name, len(known))

    def _report(self, error: PricesUnavailableError) -> None:
        """Once, until it goes well again."""
        write = log.debug if self._failing else log.warning
        write("prices cannot be learned", provider=self._reader.name, why=str(error))
        self._failing = True
