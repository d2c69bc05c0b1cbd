"""The database as the stores see it: one connection that writes the log, and a pool for each other purpose."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import asyncpg
import structlog

from relaypost_server.core.background import Supervisor
from relaypost_server.core.health import MessageLogHealth
from relaypost_server.store import migrations
from relaypost_server.store.pools import CONNECT_SECONDS, DatabaseTerms, Pool, session_settings
from relaypost_server.store.rows import Row
from relaypost_server.store.spool import Spool
from relaypost_server.store.writer import BatchWriter
from relaypost_server.telemetry.metrics import Metrics

STOP_SECONDS = 0.7
"""How long a shutdown waits for what is still to be written; what is on disk by then is for the next gateway."""

_DEFAULT = DatabaseTerms()

log = structlog.get_logger("relaypost.log")


class SchemaError(Exception):
    """The database lacks migrations, and this gateway may not apply them."""


class Database:
    """Works, with a delay, while PostgreSQL is away: what is written waits in the spool."""

    def __init__(
        self,
        url: str,
        spool: Spool,
        *,
        auto_migrate: bool,
        metrics: Metrics,
        tasks: Supervisor,
        terms: DatabaseTerms = _DEFAULT,
    ) -> None:
        self._url = url
        self._auto_migrate = auto_migrate
        self._migrated = False
        """Whether the schema has been seen to be in place."""
        self.writer = BatchWriter(self.connect, spool, on_drop=metrics.dropped, tasks=tasks)
        self.requests, self.background, self.reports = (
            Pool(each, is_migrated=lambda: self._migrated) for each in (terms.requests, terms.background, terms.reports)
        )
        self._pools = (self.requests, self.background, self.reports)
        metrics.watch_log(lambda: self.writer.waiting, lambda: self.writer.spool_bytes)

    async def start(self) -> None:
        """Connects, or goes on without where that takes too long."""
        for pool in self._pools:
            await pool.open(self._url)
        await self.writer.start(seconds=CONNECT_SECONDS)

    async def stop(self) -> None:
        await self.writer.stop(seconds=STOP_SECONDS)
        for pool in self._pools:
            pool.terminate()

    def health(self) -> MessageLogHealth:
        return MessageLogHealth(
            available=self.writer.available, waiting=self.writer.waiting, spool_bytes=self.writer.spool_bytes
        )

    def up_to_date(self) -> bool:
        """Whether all but the latest records are in the database."""
        return self.writer.available and not self.writer.spool_bytes

    async def fetch(self, query: str, *arguments: object) -> Sequence[Row]:
        """The rows of a named query that a caller waits for. Raises LogUnavailableError."""
        return await self.requests.fetch(query, *arguments)

    def transaction(self) -> "AbstractAsyncContextManager[asyncpg.pool.PoolConnectionProxy]":
        """A connection within a transaction that a caller waits for. Raises LogUnavailableError."""
        return self.requests.transaction()

    async def connect(self) -> asyncpg.Connection:
        """A new connection, the schema being up to date. Raises OSError, SchemaError or asyncpg's own."""
        connection = await asyncpg.connect(self._url, timeout=CONNECT_SECONDS, server_settings=session_settings())
        try:
            await self._check_schema(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _check_schema(self, connection: asyncpg.Connection) -> None:
        if self._auto_migrate:
            for applied in await migrations.migrate(connection):
                log.info("schema migrated", migration=applied.name)
        elif missing := await migrations.pending(connection):
            raise SchemaError(f"run `relaypost migrate`: {len(missing)} migrations are missing")
        self._migrated = True
