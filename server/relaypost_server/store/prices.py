"""Prices that are still to come, and those that came."""

from collections.abc import Sequence

from relaypost_server.core.money import Money
from relaypost_server.core.price_ports import Unpriced
from relaypost_server.store.database import Database
from relaypost_server.store.sql import QUERIES


class PostgresPrices:
    """A `core.price_ports.PriceLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self, provider: str, limit: int) -> Sequence[Unpriced]:
        await self._database.background.fetch("forget_prices", provider)
        rows = await self._database.background.fetch("prices_due", provider, limit)
        return [
            Unpriced(
                message_id=str(row["message_id"]),
                number=row["number"],
                provider_message_id=row["provider_message_id"],
                start_time=row["start_time"],
            )
            for row in rows
        ]

    async def put_off(self, unpriced: Sequence[Unpriced]) -> None:
        await self._database.background.fetch(
            "put_off_prices", [u.message_id for u in unpriced], [u.number for u in unpriced]
        )

    async def keep(self, prices: Sequence[tuple[Unpriced, Money]]) -> None:
        if not prices:
            return
        # In order, lest two writers wait for one another.
        told = sorted(prices, key=lambda each: (each[0].message_id, each[0].number))
        ids = [unpriced.message_id for unpriced, _ in told]
        async with self._database.background.transaction() as connection:
            await connection.execute(
                QUERIES["keep_prices"],
                ids,
                [unpriced.number for unpriced, _ in told],
                [money.micros for _, money in told],
                [money.currency for _, money in told],
            )
            await connection.execute(QUERIES["cost_messages"], ids)
