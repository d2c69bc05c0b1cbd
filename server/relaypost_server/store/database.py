"""The database as the stores see it: one connection that writes, a small pool that reads."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import structlog

from relaypost_server.core.background import Supervisor
from relaypost_server.core.health import MessageLogHealth
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.store import migrations
from relaypost_server.store.front import reaching, using
from relaypost_server.store.rows import Row
from relaypost_server.store.spool import Spool
from relaypost_server.store.sql import QUERIES
from relaypost_server.store.writer import BatchWriter
from relaypost_server.telemetry.metrics import Metrics

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
IDLE_SECONDS = 5.0
"""Within a transaction and between two statements, which no process needs that is awake."""
LARGEST_POOL = 4
STOP_SECONDS = 0.7
"""How long a shutdown waits for what is still to be written; what is on disk by then is for the next gateway."""

log = structlog.get_logger("relaypost.log")


class SchemaError(Exception):
    """The database lacks migrations, and this gateway may not apply them."""


class Database:
    """Works, with a delay, while PostgreSQL is away: what is written waits in the spool."""

    def __init__(self, url: str, spool: Spool, *, auto_migrate: bool, metrics: Metrics, tasks: Supervisor) -> None:
        self._url = url
        self._auto_migrate = auto_migrate
        self.writer = BatchWriter(self.connect, spool, on_drop=metrics.dropped, tasks=tasks)
        self._pool: asyncpg.Pool | None = None
        self._migrated = False
        """Whether the schema has been seen to be in place."""
        metrics.watch_log(lambda: self.writer.waiting, lambda: self.writer.spool_bytes)

    async def start(self) -> None:
        """Connects, or goes on without where that takes too long."""
        self._pool = asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=LARGEST_POOL,
            timeout=CONNECT_SECONDS,
            command_timeout=READ_SECONDS,
            server_settings=_session(),
        )
        await self._pool
        await self.writer.start(seconds=CONNECT_SECONDS)

    async def stop(self) -> None:
        await self.writer.stop(seconds=STOP_SECONDS)
        if self._pool is not None:
            self._pool.terminate()

    def health(self) -> MessageLogHealth:
        return MessageLogHealth(
            available=self.writer.available, waiting=self.writer.waiting, spool_bytes=self.writer.spool_bytes
        )

    def up_to_date(self) -> bool:
        """Whether all but the latest records are in the database."""
        return self.writer.available and not self.writer.spool_bytes

    async def fetch(self, query: str, *arguments: object) -> Sequence[Row]:
        """The rows of a named query. Raises LogUnavailableError."""
        async with self._connection() as connection:
            return await connection.fetch(QUERIES[query], *arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy"]:
        """A connection within a transaction. Raises LogUnavailableError."""
        async with self._connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy"]:
        if self._pool is None:
            raise LogUnavailableError
        with reaching():
            connection = await self._pool.acquire(timeout=READ_SECONDS)
        try:
            with using(connection, migrated=self._migrated):
                yield connection
        finally:
            with reaching():
                await self._pool.release(connection)

    async def connect(self) -> asyncpg.Connection:
        """A new connection, the schema being up to date. Raises OSError, SchemaError or asyncpg's own."""
        connection = await asyncpg.connect(self._url, timeout=CONNECT_SECONDS, server_settings=_session())
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


def _session() -> dict[str, str]:
    """A process that is stopped within a transaction must not keep the others from its rows."""
    return {"idle_in_transaction_session_timeout": str(round(IDLE_SECONDS * 1000))}
