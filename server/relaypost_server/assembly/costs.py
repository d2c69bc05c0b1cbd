"""What has to do with money."""

from collections.abc import Iterable
from typing import Any

from relaypost_server.assembly.site import Site
from relaypost_server.core.price_ports import PriceReader
from relaypost_server.flow.budgets import BudgetKeeper
from relaypost_server.flow.costs import CostReader
from relaypost_server.flow.prices import PriceFetcher
from relaypost_server.store.costs import PostgresCosts
from relaypost_server.store.database import Database
from relaypost_server.store.prices import PostgresPrices


async def keep_budgets(site: Site, database: Database) -> BudgetKeeper | None:
    """What is spent is counted in any case; None where there is no budget to keep to."""
    keeper = BudgetKeeper(
        site.config.all_budgets,
        PostgresCosts(database.background),
        site.config.tariffs,
        refresh_seconds=site.config.budgets.budget_refresh_seconds,
        on_record=database.up_to_date,
        metrics=site.metrics,
        clock=site.clock,
    )
    await keeper.learn()
    site.run(keeper)
    return keeper if site.config.all_budgets else None


def fetch_prices(site: Site, database: Database, providers: Iterable[Any]) -> None:
    for reader in providers:
        if isinstance(reader, PriceReader) and reader.prices_a_minute:
            site.run(PriceFetcher(reader, PostgresPrices(database), site.metrics))


def build_reader(site: Site, database: Database) -> CostReader:
    return CostReader(PostgresCosts(database.reports), site.config.tariffs, clock=site.clock)
