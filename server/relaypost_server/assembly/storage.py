"""The database, its spool, and the requests that are claimed in it."""

import asyncio

from relaypost_server.assembly.shutdown import Phase, Shutdown
from relaypost_server.assembly.site import Site
from relaypost_server.flow.requests import Recovery, Requests, Terms
from relaypost_server.gateway_settings import GatewaySettings, WithoutDatabase
from relaypost_server.settings import Problem, SettingsError
from relaypost_server.store.database import Database
from relaypost_server.store.embedded import EmbeddedPostgres
from relaypost_server.store.pools import DatabaseTerms, PoolTerms
from relaypost_server.store.requests import PostgresRequests
from relaypost_server.store.spool import Spool
from relaypost_server.store.tenants import OtherDatabaseError, Tenancy, identity


async def database_url(gateway: GatewaySettings, shutdown: Shutdown) -> str:
    """Where the database is: the bundled one is started if there is no other. Raises OSError or EmbeddedPostgresError.

    To be called before anything talks gRPC, which does not like processes that fork after it began.
    """
    if gateway.database_url:
        return gateway.database_url.get_secret_value()
    embedded = EmbeddedPostgres(gateway.data_dir)
    shutdown.then(Phase.BUNDLED_DATABASE, embedded.stop)
    await embedded.start()
    return embedded.url


async def open_database(site: Site, url: str) -> Database:
    """Raises OSError."""
    gateway = site.config.gateway
    tenancy = await asyncio.to_thread(_enter, gateway)
    # After the records: until then the spool is this gateway's.
    site.shutdown.then(Phase.TELEMETRY, lambda: asyncio.to_thread(tenancy.close))
    spool = await asyncio.to_thread(_open_spool, gateway)
    database = Database(
        url,
        spool,
        auto_migrate=gateway.auto_migrate,
        metrics=site.metrics,
        tasks=site.tasks,
        terms=_terms(gateway),
    )
    await database.start()
    site.shutdown.then(Phase.RECORDS, database.stop)
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


def _enter(gateway: GatewaySettings) -> Tenancy:
    url = gateway.database_url.get_secret_value() if gateway.database_url else None
    try:
        return Tenancy(gateway.spool, identity(url))
    except OtherDatabaseError:
        fix = "Set it, or RELAYPOST_SPOOL_DIR, to a directory of this gateway's own."
        what = f"is shared with a running gateway that has another database (spool: {gateway.spool})"
        raise SettingsError([Problem(setting="RELAYPOST_DATA_DIR", what=what, fix=fix)]) from None
    except OSError as error:
        raise _unwritable(gateway, error) from error


def _unwritable(gateway: GatewaySettings, error: OSError) -> OSError:
    fix = "set RELAYPOST_SPOOL_DIR to a directory of yours"
    return OSError(f"cannot write the spool in {gateway.spool} ({error.strerror}): {fix}")


def _open_spool(gateway: GatewaySettings) -> Spool:
    try:
        return Spool.open(gateway.spool, max_bytes=gateway.spool_max_bytes)
    except OSError as error:
        raise _unwritable(gateway, error) from error
