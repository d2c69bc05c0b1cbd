"""The queue: where messages wait, what carries pointers to them, and who sends them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from relaypost_server.assembly.chains import Senders
from relaypost_server.assembly.site import Site
from relaypost_server.config import ChosenProvider
from relaypost_server.core.pace import Pace
from relaypost_server.core.ports import MessageLog
from relaypost_server.core.queue import Pointer
from relaypost_server.core.queue_ports import Queue
from relaypost_server.flow.bulk import Batches
from relaypost_server.flow.pacer import Pacer
from relaypost_server.flow.queueing import Queueing
from relaypost_server.flow.relay import Relay
from relaypost_server.flow.worker import Crew, Worker
from relaypost_server.queues import open_queue
from relaypost_server.queues.postgres import PgQueue
from relaypost_server.store.database import Database
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
    gateway, settings = site.config.gateway, site.config.queue
    url = settings.url and settings.url.get_secret_value()
    engine = (
        open_queue(url, endpoint=settings.endpoint)
        if url
        else PgQueue(database.connect, auto_migrate=gateway.auto_migrate)
    )

    async def hand_over(connection: Any, pointers: Sequence[Pointer]) -> None:
        if isinstance(engine, PgQueue):
            await engine.hand_over(connection, pointers)
        else:
            await engine.put(pointers)

    store = PostgresQueue(
        database, lease=settings.lease_seconds, hand_over=hand_over, same_database=isinstance(engine, PgQueue)
    )
    relay = Relay(store, dead_retention=settings.dead_letter_days * 86_400)
    site.running.push_async_callback(engine.close)
    await engine.start()
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
    site.run(Worker(crew, site.config.queue.hands, grace=site.config.gateway.shutdown_grace_seconds))


def _paced(providers: Sequence[ChosenProvider]) -> Sequence[ChosenProvider]:
    return [p for p in providers if p.settings.rate]
