"""The suppression list, and what the providers themselves know about it."""

from relaypost_server.assembly.chains import Chains
from relaypost_server.assembly.site import Site
from relaypost_server.core.suppression_ports import OptOutReader
from relaypost_server.flow.opt_outs import OptOuts
from relaypost_server.flow.suppressions import Suppressions
from relaypost_server.store.database import Database
from relaypost_server.store.suppressions import PostgresSuppressions


async def open_suppressions(site: Site, database: Database, chains: Chains) -> Suppressions:
    gateway, store = site.config.gateway, PostgresSuppressions(database)
    suppressions = Suppressions(
        store,
        refresh_seconds=gateway.suppression_refresh_seconds,
        policy=gateway.suppress,
        metrics=site.metrics,
        clock=site.clock,
    )
    await suppressions.load()
    site.run(suppressions)
    for reader in chains.providers:
        if gateway.suppression_automatic and isinstance(reader, OptOutReader) and reader.opt_outs_every:
            site.run(OptOuts(reader, store))
    return suppressions
