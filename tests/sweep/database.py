"""A database whose clock is the virtual one, and which notes every state that a message ever had."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import orjson

from relaypost_server.store import migrations
from tests.databases import OUTSIDE
from tests.sweep.checker import Change, Entry
from tests.sweep.clock import CLOCK, EPOCH

_CLOCK = f"""
CREATE SCHEMA sweep;
CREATE TABLE sweep.clock (time timestamptz NOT NULL);
INSERT INTO sweep.clock VALUES ('{EPOCH.isoformat()}');
CREATE FUNCTION sweep.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT time FROM sweep.clock';
CREATE FUNCTION sweep.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT time FROM sweep.clock';
CREATE TABLE sweep.states (number bigserial, message_id uuid, before text, after text);
CREATE TABLE sweep.pointers (number bigserial PRIMARY KEY, lane text, channel text, message_id text, taken bool);
CREATE FUNCTION sweep.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO sweep.states (message_id, before, after)
    VALUES (NEW.id, CASE WHEN TG_OP = 'INSERT' THEN '' ELSE OLD.state END, NEW.state);
    RETURN NULL;
END
$$;
"""
_NOTE = """
CREATE OR REPLACE TRIGGER sweep_note AFTER INSERT OR UPDATE OF state ON relaypost.messages
FOR EACH ROW EXECUTE FUNCTION sweep.note()
"""
EMPTY = f"""
DO $$
DECLARE name text;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR name IN
        SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
        WHERE schemaname IN ('relaypost', 'sweep') AND tablename NOT IN ('schema_migrations', 'clock')
    LOOP
        EXECUTE 'DELETE FROM ' || name;
    END LOOP;
    UPDATE sweep.clock SET time = '{EPOCH.isoformat()}';
END
$$;
{_NOTE};
"""
"""With the trigger, which went with the schema where an earlier case made the schema anew."""
RESET_CLOCK = f"UPDATE sweep.clock SET time = '{EPOCH.isoformat()}'; DELETE FROM sweep.states"
_LEFT_OVER = {
    "queued messages": "SELECT count(*) FROM relaypost.queue WHERE death IS NULL",
    "pointers": "SELECT count(*) FROM relaypost.pointers",
    "pointers with the engine": "SELECT count(*) FROM sweep.pointers",
    "leases": "SELECT count(*) FROM relaypost.requests WHERE lease_until IS NOT NULL",
    "receipts that wait": "SELECT count(*) FROM relaypost.delivery_events WHERE waiting",
    "webhooks that wait": "SELECT count(*) FROM relaypost.webhook_deliveries WHERE state = 'pending'",
}


def upstream(url: str = OUTSIDE) -> tuple[str, int]:
    """Where the server listens."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 5432


def at(server: str, name: str) -> str:
    return urlsplit(server)._replace(path=f"/{name}").geturl()


async def create(*, migrated: bool = True) -> str:
    """A new database; its name."""
    name = f"relaypost_sweep_{uuid.uuid4().hex}"
    await _run(OUTSIDE, f"CREATE DATABASE {name}")
    url = at(OUTSIDE, name)
    await _run(url, _CLOCK)
    await _run(url, f"ALTER DATABASE {name} SET search_path = sweep, pg_catalog, public")
    await _run(url, f"ALTER DATABASE {name} SET synchronous_commit = off")  # The disk is not what is swept.
    if migrated:
        connection = await asyncpg.connect(url)
        try:
            await migrations.migrate(connection)
        finally:
            await connection.close()
        await watch(url)
    return name


async def watch(url: str) -> None:
    """Notes every change of a message's state from now on."""
    await _run(url, _NOTE)


async def drop(name: str) -> None:
    await _run(OUTSIDE, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def _run(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, ssl=False)
    try:
        await connection.execute(statement)
    finally:
        connection.terminate()


class Control:
    """The harness's own way to the database, past every proxy."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()
        self._told = -1.0

    @classmethod
    async def open(cls, name: str) -> "Control":
        CLOCK.busy += 1
        try:
            connection = await asyncpg.connect(at(OUTSIDE, name), ssl=False)
            await connection.execute("SET synchronous_commit = off")
        finally:
            CLOCK.busy -= 1
        return cls(connection)

    def close(self) -> None:
        self._connection.terminate()

    async def tell_time(self) -> None:
        """Sets the database's clock, where time has moved."""
        if self._told != CLOCK.elapsed:
            self._told = CLOCK.elapsed
            await self.execute("UPDATE sweep.clock SET time = $1", CLOCK.wall())

    async def execute(self, sql: str, *arguments: Any) -> None:
        await self.fetch(sql, *arguments)

    async def execute_script(self, sql: str) -> None:
        async with self._busy():
            await self._connection.execute(sql)

    async def fetch(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self._busy():
            return await self._connection.fetch(sql, *arguments)

    @asynccontextmanager
    async def _busy(self) -> AsyncIterator[None]:
        """One statement at a time, while time stands still."""
        CLOCK.busy += 1
        try:
            async with self._turn:
                yield
        finally:
            CLOCK.busy -= 1

    async def left_over(self) -> Mapping[str, int]:
        """What should be empty at the end."""
        return {name: (await self.fetch(sql))[0][0] for name, sql in _LEFT_OVER.items()}

    async def entries(self) -> list[Entry]:
        """Every message; one that bears no token goes by its id."""
        messages = await self.fetch(
            "SELECT id, state, possible_duplicate, metadata FROM relaypost.messages ORDER BY id"
        )
        attempts = defaultdict[str, list[tuple[str, str]]](list)
        for row in await self.fetch("SELECT * FROM relaypost.attempts ORDER BY message_id, number"):
            attempts[str(row["message_id"])].append((row["provider"], row["kind"]))
        return [
            Entry(
                message_id=str(row["id"]),
                token=orjson.loads(row["metadata"]).get("token") or str(row["id"]),
                state=row["state"],
                possible_duplicate=row["possible_duplicate"],
                attempts=tuple(attempts[str(row["id"])]),
            )
            for row in messages
        ]

    async def changes(self) -> list[Change]:
        rows = await self.fetch("SELECT * FROM sweep.states ORDER BY number")
        return [Change(str(row["message_id"]), row["before"], row["after"]) for row in rows]

    async def events(self) -> dict[str, list[str]]:
        """States that webhook events tell of, by message."""
        found = defaultdict[str, list[str]](list)
        rows = await self.fetch(
            "SELECT type, data ->> 'message_id' AS id FROM relaypost.webhook_events ORDER BY xmin::text::bigint"
        )
        for row in rows:
            found[row["id"]].append(row["type"].removeprefix("message."))
        return found
