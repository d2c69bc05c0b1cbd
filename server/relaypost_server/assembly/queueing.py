"""The queue: where messages wait, what carries pointers to them, and who sends them."""

from collections.abc import Sequence
from dataclasses import dataclass

from relaypost_server.assembly.chains import Senders
from relaypost_server.assembly.shutdown import Phase
from relaypost_server.assembly.site import Site
from relaypost_server.config import ChosenProvider
from relaypost_server.core.pace import Pace
from relaypost_server.core.ports import MessageLog
from relaypost_server.core.queue_ports import Queue
from relaypost_server.flow.bulk import Batches
from relaypost_server.flow.pacer import Pacer
from relaypost_server.flow.queueing import Queueing
from relaypost_server.flow.relay import Relay
from relaypost_server.flow.worker import Crew, Worker
from relaypost_server.queues import open_queue
from relaypost_server.queues.postgres import PgQueue
from relaypost_server.store.database import Database
from relaypost_server.store.hand_over import HandOverByLease, HandOverWithin
from relaypost_server.store.message_batches import PostgresBatches
from relaypost_server.store.queue import PostgresQueue
from relaypost_server.store.requests import PostgresRequests


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """The queue, for those who fill it and those who empty it."""

    engine: Queue
    store: PostgresQueue
    relay: Relay


async def open_queues(site: Site, database: Database) -> Queues:
    settings = site.config.queue
    url = settings.url and settings.url.get_secret_value()
    engine = open_queue(url, endpoint=settings.endpoint) if url else PgQueue(database.connect)
    hand_over = (
        HandOverWithin(database, engine) if isinstance(engine, PgQueue) else HandOverByLease(database, engine.put)
    )
    store = PostgresQueue(database, lease=settings.lease_seconds, hand_over=hand_over)
    relay = Relay(store, dead_retention=settings.dead_letter_days * 86_400)
    site.shutdown.then(Phase.CONNECTIONS, engine.close)
    await engine.start()
    site.supervise(engine.tasks())
    site.run(relay)
    return Queues(engine=engine, store=store, relay=relay)


def build_queueing(site: Site, queues: Queues, message_log: MessageLog) -> Queueing:
    return Queueing(queues.store, message_log, on_stored=queues.relay.poke, metrics=site.metrics, clock=site.clock)


def build_batches(site: Site, queues: Queues, database: Database) -> Batches:
    return Batches(
        PostgresBatches(database),
        queues.store,
        on_stored=queues.relay.poke,
        metrics=site.metrics,
        clock=site.clock,
        most_streams=site.config.gateway.max_bulk_streams,
    )


def run_worker(site: Site, queues: Queues, database: Database, senders: Senders) -> None:
    crew = Crew(
        queue=queues.engine,
        store=queues.store,
        requests=PostgresRequests(database, lease=site.config.queue.lease_seconds),
        emails=senders.emails,
        texts=senders.texts,
        pacer=Pacer(queues.store, {p.kind.name: Pace.of(p.settings.rate) for p in _paced(site.config.providers)}),
        lease=site.config.queue.lease_seconds,
        metrics=site.metrics,
        clock=site.clock,
    )
    worker = Worker(crew, site.config.queue.hands)
    worker.start(site.tasks)
    site.shutdown.at_once(worker.stop_claiming)
    site.shutdown.in_flight(worker)


def _paced(providers: Sequence[ChosenProvider]) -> Sequence[ChosenProvider]:
    return [p for p in providers if p.settings.rate]
