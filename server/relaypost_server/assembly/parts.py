"""What every process is made of, whether it serves or works."""

from dataclasses import dataclass

from relaypost_server.assembly import costs, otps
from relaypost_server.assembly.advice import Advising
from relaypost_server.assembly.chains import Chains, Senders, build_chains, build_senders
from relaypost_server.assembly.confirmations import run_delivery_upkeep, run_look_ups, run_silences
from relaypost_server.assembly.queueing import Queues, open_queues
from relaypost_server.assembly.site import Site
from relaypost_server.assembly.storage import open_database, open_requests
from relaypost_server.assembly.suppressions import open_suppressions
from relaypost_server.core.ports import CallbackReader
from relaypost_server.flow.callbacks import Callbacks, Matcher
from relaypost_server.flow.health import HealthReader
from relaypost_server.flow.suppressions import Suppressions
from relaypost_server.store.database import Database
from relaypost_server.store.deliveries import PostgresDeliveries
from relaypost_server.store.messages import PostgresLog
from relaypost_server.store.otp import PostgresOtps


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts, started in the order in which they need one another."""

    database: Database
    message_log: PostgresLog
    chains: Chains
    suppressions: Suppressions
    otp_store: PostgresOtps
    health: HealthReader
    senders: Senders
    queues: Queues


async def open_parts(site: Site, url: str) -> Parts:
    database = await open_database(site, url)
    message_log, requests = PostgresLog(database), open_requests(site, database)
    advising = Advising(site)
    chains = build_chains(site, await costs.keep_budgets(site, database), advising.tell)
    advising.begin(chains)
    suppressions = await open_suppressions(site, database, chains)
    costs.fetch_prices(site, database, chains.providers)
    otp_store = otps.open_store(site, database)
    health = HealthReader(
        [chains.emails, chains.texts],
        message_log,
        requests_without_log=requests.without_log,
        otps=otps.run_upkeep(site, otp_store),
        deliveries=run_delivery_upkeep(site, database, chains),
        tasks=site.tasks,
    )
    silences = run_silences(site, database, chains, suppressions)
    return Parts(
        database=database,
        message_log=message_log,
        chains=chains,
        suppressions=suppressions,
        otp_store=otp_store,
        health=health,
        senders=build_senders(site, chains, message_log, requests, suppressions, silences),
        queues=await open_queues(site, database),
    )


def build_callbacks(site: Site, parts: Parts) -> Callbacks:
    deliveries = PostgresDeliveries(parts.database, site.config.gateway.suppress)
    site.run(Matcher(deliveries))
    run_look_ups(site, parts.database, deliveries, parts.chains)
    readers = [p for p in parts.chains.providers if isinstance(p, CallbackReader)]
    return Callbacks(readers, deliveries, site.metrics, parts.suppressions)
