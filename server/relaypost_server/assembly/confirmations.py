"""What waits for the confirmation of messages, asks for it, and counts what arrives."""

from relaypost_server.assembly.chains import Chains
from relaypost_server.assembly.site import Site
from relaypost_server.core.look_ups import Answering
from relaypost_server.core.ports import CallbackReader, DeliveryLog
from relaypost_server.flow.delivery_upkeep import DeliveryUpkeep
from relaypost_server.flow.look_ups import LookUps
from relaypost_server.flow.second_send import SecondSend
from relaypost_server.flow.silence import Room, Silences
from relaypost_server.flow.suppressions import Screen
from relaypost_server.store.database import Database
from relaypost_server.store.doubts import PostgresDoubts
from relaypost_server.store.fates import PostgresFates
from relaypost_server.store.silences import PostgresSilences


def run_silences(site: Site, database: Database, chains: Chains, screen: Screen) -> Silences:
    delivery, silence_log = site.config.delivery, PostgresSilences(database)
    silences = Silences(
        silence_log,
        SecondSend(silence_log, screen, limits=site.config.gateway.limits, clock=site.clock),
        reporting=reporting(chains),
        room=Room(messages=delivery.waiting_messages, bytes=delivery.waiting_bytes),
        metrics=site.metrics,
        clock=site.clock,
    )
    silences.start(site.tasks)
    site.shutdown.in_flight(silences)
    return silences


def run_look_ups(site: Site, database: Database, deliveries: DeliveryLog, chains: Chains) -> None:
    answering = [p for p in chains.providers if isinstance(p, Answering)]
    site.run(LookUps(PostgresDoubts(database), deliveries, answering, site.metrics))


def reporting(chains: Chains) -> frozenset[str]:
    """The providers whose receipts are set up."""
    return frozenset(p.name for p in chains.providers if isinstance(p, CallbackReader) and p.reports)


def run_delivery_upkeep(site: Site, database: Database, chains: Chains) -> DeliveryUpkeep:
    delivery = site.config.delivery
    upkeep = DeliveryUpkeep(
        PostgresFates(database),
        [chains.emails, chains.texts],
        reporting=reporting(chains),
        window=delivery.window_minutes * 60,
        settle=delivery.settle_minutes * 60,
        policy=delivery.sickness,
        metrics=site.metrics,
        clock=site.clock,
    )
    site.run(upkeep)
    return upkeep
