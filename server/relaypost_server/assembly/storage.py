"""The database, its spool, and the requests that are claimed in it."""

import asyncio
from contextlib import AsyncExitStack

from relaypost_server.assembly.site import Site
from relaypost_server.flow.requests import Recovery, Requests, Terms
from relaypost_server.gateway_settings import GatewaySettings, WithoutDatabase
from relaypost_server.store.database import Database
from relaypost_server.store.embedded import EmbeddedPostgres
from relaypost_server.store.pools import DatabaseTerms, PoolTerms
from relaypost_server.store.requests import PostgresRequests
from relaypost_server.store.spool import Spool


async def database_url(gateway: GatewaySettings, running: AsyncExitStack) -> str:
    """Where the database is: the bundled one is started if there is no other. Raises OSError or EmbeddedPostgresError.

    To be called before anything talks gRPC, which does not like processes that fork after it began.
    """
    if gateway.database_url:
        return gateway.database_url.get_secret_value()
    embedded = EmbeddedPostgres(gateway.data_dir)
    running.push_async_callback(embedded.stop)
    await embedded.start()
    return embedded.url


async def open_database(site: Site, url: str) -> Database:
    """Raises OSError."""
    gateway = site.config.gateway
    spool = await asyncio.to_thread(_open_spool, gateway)
    database = Database(url, spool, auto_migrate=gateway.auto_migrate, metrics=site.metrics, terms=_terms(gateway))
    await database.start()
    site.running.push_async_callback(database.stop)
    return database


def open_requests(site: Site, database: Database) -> Requests:
    gateway = site.config.gateway
    log_of_requests = PostgresRequests(database, lease=gateway.lease_seconds)
    site.run(Recovery(log_of_requests, retention=gateway.request_retention_hours * 3600, clock=site.clock))
    terms = Terms(
        lease=gateway.lease_seconds,
        without_log=gateway.keyed_without_database is WithoutDatabase.SEND,
        clock=site.clock,
    )
    return Requests(log_of_requests, terms, site.metrics)


def _terms(gateway: GatewaySettings) -> DatabaseTerms:
    return DatabaseTerms(
        requests=PoolTerms(connections=gateway.database_request_connections, seconds=gateway.database_request_seconds),
        background=PoolTerms(
            connections=gateway.database_background_connections, seconds=gateway.database_background_seconds
        ),
        reports=PoolTerms(
            connections=gateway.database_report_connections,
            seconds=gateway.database_report_seconds,
            queue=gateway.database_report_queue,
        ),
    )


def _open_spool(gateway: GatewaySettings) -> Spool:
    try:
        return Spool.open(gateway.spool, max_bytes=gateway.spool_max_bytes)
    except OSError as error:
        fix = "set RELAYPOST_SPOOL_DIR to a directory of yours"
        raise OSError(f"cannot write the spool in {gateway.spool} ({error.strerror}): {fix}") from error
