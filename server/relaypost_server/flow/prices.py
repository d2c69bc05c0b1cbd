"""Asks providers, politely and some time after, what messages cost."""

import asyncio

import structlog

from relaypost_server.core.ports import LogUnavailableError
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

    async def round(self) -> int:
        """The number of prices that were learned. Raises LogUnavailableError."""
        due = await self._prices.due(self._reader.name, self._reader.prices_a_minute)
        if not due:
            return 0
        try:
            told = await self._reader.prices(due)
        except PricesUnavailableError as error:
            self._report(error)
            await self._prices.put_off(due)
            return 0
        self._failing = False
        known = [(each, told[each.provider_message_id]) for each in due if each.provider_message_id in told]
        await self._prices.keep(known)
        self._metrics.priced(self._reader.name, len(known))
        return len(known)

    def _report(self, error: PricesUnavailableError) -> None:
        """Once, until it goes well again."""
        write = log.debug if self._failing else log.warning
        write("prices cannot be learned", provider=self._reader.name, why=str(error))
        self._failing = True

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            try:
                await self.round()
            except LogUnavailableError:
                pass  # The log reports that itself.
            except Exception:
                log.exception("prices cannot be learned", provider=self._reader.name)
