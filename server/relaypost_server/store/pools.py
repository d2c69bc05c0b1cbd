"""Connections in pools by purpose, so that no purpose can take those of another."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import asyncpg
import structlog

from relaypost_server.core.ports import LogUnavailableError, ReportsBusyError, ReportTooSlowError
from relaypost_server.store.front import reaching, using
from relaypost_server.store.rows import Row
from relaypost_server.store.sql import QUERIES

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 5.0
"""Within a transaction and between two statements, which no process needs that is awake."""
_SPARE_SECONDS = 2.0
"""For the server's answer that a statement took too long; after them the connection counts as lost."""

log = structlog.get_logger("relaypost.log")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolTerms:
    """The most connections of a pool, and the seconds that a statement, or the wait for a connection, may take."""

    connections: int
    seconds: float
    queue: int | None = None
    """Of reports, the most that wait for a connection; None: no bound, and no report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseTerms:
    """The terms of each purpose."""

    requests: PoolTerms = PoolTerms(connections=4, seconds=10)
    """Calls: one-time passwords, claims, the queue, single messages."""
    background: PoolTerms = PoolTerms(connections=3, seconds=30)
    """Background tasks and receipts."""
    reports: PoolTerms = PoolTerms(connections=2, seconds=6, queue=6)
    """Listings and sums, which may read much."""


class Session:
    """One connection of a pool, for several statements."""

    def __init__(self, connection: "asyncpg.pool.PoolConnectionProxy") -> None:
        self._connection = connection

    async def fetch(self, query: str, *arguments: object) -> Sequence[Row]:
        """The rows of a named query."""
        return await self.fetch_text(QUERIES[query], *arguments)

    async def fetch_text(self, statement: str, *arguments: object) -> Sequence[Row]:
        rows: Sequence[Row] = await self._connection.fetch(statement, *arguments)
        return rows


class Pool:
    """The connections of one purpose. Every method raises LogUnavailableError."""

    def __init__(self, terms: PoolTerms, *, is_migrated: Callable[[], bool]) -> None:
        """`is_migrated`: whether the schema has been seen to be in place."""
        self._terms = terms
        self._is_migrated = is_migrated
        self._inside = 0
        """Uses that have a connection or wait for one."""
        self._pool: asyncpg.Pool | None = None

    async def open(self, url: str) -> None:
        """Connects to nothing yet."""
        self._pool = asyncpg.create_pool(
            url,
            min_size=0,
            max_size=self._terms.connections,
            timeout=CONNECT_SECONDS,
            command_timeout=self._terms.seconds + _SPARE_SECONDS,
            server_settings=session_settings(statement_seconds=self._terms.seconds),
        )
        await self._pool

    def terminate(self) -> None:
        if self._pool is not None:
            self._pool.terminate()

    async def fetch(self, query: str, *arguments: object) -> Sequence[Row]:
        """The rows of a named query."""
        async with self.session() as session:
            return await session.fetch(query, *arguments)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A connection for several statements."""
        async with self._connection() as connection:
            yield Session(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy"]:
        """A connection within a transaction."""
        async with self._connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy"]:
        if self._pool is None:
            raise LogUnavailableError
        with self._place(), self._in_time():
            with reaching():
                connection = await self._pool.acquire(timeout=self._terms.seconds)
            try:
                with using(connection, migrated=self._is_migrated()):
                    yield connection
            finally:
                with reaching():
                    await self._pool.release(connection)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Refuses a report at once that would wait behind too many others."""
        queue = self._terms.queue
        if queue is not None and self._inside >= self._terms.connections + queue:
            raise ReportsBusyError
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """Tells a report that took too long from a database that is away."""
        try:
            yield
        except LogUnavailableError as error:
            slow = isinstance(error.__cause__, asyncpg.QueryCanceledError | TimeoutError)
            if slow and self._terms.queue is not None:
                raise ReportTooSlowError from error
            raise


def session_settings(*, statement_seconds: float | None = None) -> dict[str, str]:
    """Settings of a connection.

    A process that is stopped within a transaction must not keep others from its rows. No statement is compiled: those
    of a gateway run for milliseconds, and compiling one that PostgreSQL takes for a costly one lasts half a second.
    """
    settings = {"idle_in_transaction_session_timeout": str(round(IDLE_SECONDS * 1000)), "jit": "off"}
    if statement_seconds is not None:
        settings["statement_timeout"] = str(round(statement_seconds * 1000))
    return settings
