"""The message log: appended through the batch writer, read through a small pool."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg
import structlog

from relaypost_server.core.health import MessageLogHealth
from relaypost_server.core.ids import HIGHEST, uuid7
from relaypost_server.core.ports import LogUnavailableError, MessageQuery
from relaypost_server.core.record import MessageRecord
from relaypost_server.store import migrations
from relaypost_server.store.rows import Row, records
from relaypost_server.store.sql import QUERIES
from relaypost_server.store.writer import BatchWriter
from relaypost_server.telemetry.metrics import Metrics

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
LARGEST_POOL = 4
STOP_SECONDS = 5.0
"""How long a shutdown waits for what the log still has to write."""

log = structlog.get_logger("relaypost.log")


class SchemaError(Exception):
    """The database lacks migrations, and this gateway may not apply them."""


class PostgresLog:
    """A `core.ports.MessageLog` that works, with a delay, while the database is away."""

    def __init__(self, url: str, *, auto_migrate: bool, metrics: Metrics) -> None:
        self._url = url
        self._auto_migrate = auto_migrate
        self._writer = BatchWriter(self._connect, on_drop=metrics.dropped)
        self._pool: asyncpg.Pool | None = None
        metrics.watch_waiting(lambda: self._writer.waiting)

    async def start(self) -> None:
        """Begins to connect; does not wait for it."""
        self._pool = asyncpg.create_pool(
            self._url, min_size=0, max_size=LARGEST_POOL, timeout=CONNECT_SECONDS, command_timeout=READ_SECONDS
        )
        await self._pool
        self._writer.start()

    async def stop(self) -> None:
        await self._writer.stop(seconds=STOP_SECONDS)
        if self._pool is not None:
            self._pool.terminate()

    def health(self) -> MessageLogHealth:
        return MessageLogHealth(available=self._writer.available, waiting=self._writer.waiting)

    async def append(self, record: MessageRecord) -> bool:
        return await self._writer.append(record)

    async def get(self, message_id: str) -> MessageRecord | None:
        messages = await self._fetch("get_message", message_id)
        found = await self._with_attempts(messages)
        return found[0] if found else None

    async def list(self, query: MessageQuery) -> Sequence[MessageRecord]:
        messages = await self._fetch(
            "list_messages",
            query.before,
            [s.value for s in query.states] or None,
            query.channel.value if query.channel else None,
            query.recipient or None,
            query.provider or None,
            query.created_from,
            query.created_from and uuid7(_milliseconds(query.created_from), 0),
            query.created_before,
            query.created_before and uuid7(_milliseconds(query.created_before), HIGHEST),
            query.page_size,
        )
        return await self._with_attempts(messages)

    async def _with_attempts(self, messages: Sequence[Row]) -> Sequence[MessageRecord]:
        if not messages:
            return []
        return records(messages, await self._fetch("list_attempts", [m["id"] for m in messages]))

    async def _fetch(self, query: str, *arguments: object) -> Sequence[Row]:
        if self._pool is None:
            raise LogUnavailableError
        try:
            return await self._pool.fetch(QUERIES[query], *arguments)
        except (OSError, asyncpg.InterfaceError, asyncpg.PostgresError) as error:
            log.warning("message log cannot be read", error=type(error).__name__)
            raise LogUnavailableError from error

    async def _connect(self) -> asyncpg.Connection:
        """A connection to a database whose schema is up to date."""
        connection = await asyncpg.connect(self._url, timeout=CONNECT_SECONDS)
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


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
