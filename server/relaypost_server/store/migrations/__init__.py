"""Numbered migrations, applied in order, each once and in a transaction of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from asyncpg import Connection

_LOCK = 0x52454C4159  # "RELAY": so that replicas that start together migrate one after the other.

_PREPARE = """
CREATE SCHEMA IF NOT EXISTS relaypost;
CREATE TABLE IF NOT EXISTS relaypost.schema_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, its name, its statements."""

    number: int
    name: str
    sql: str


def all_migrations() -> Sequence[Migration]:
    """Every migration that this version knows, by number."""
    found = (f for f in files(__package__).iterdir() if f.name.endswith(".sql"))
    return sorted(
        (Migration(int(f.name[:4]), f.name.removesuffix(".sql"), f.read_text()) for f in found),
        key=lambda m: m.number,
    )


async def pending(connection: "Connection") -> Sequence[Migration]:
    """The migrations that the database lacks."""
    known = await connection.fetchval("SELECT to_regclass('relaypost.schema_migrations') IS NOT NULL")
    done = set[int]()
    if known:
        rows = await connection.fetch("SELECT number FROM relaypost.schema_migrations")
        done = {row["number"] for row in rows}
    return [m for m in all_migrations() if m.number not in done]


async def migrate(connection: "Connection") -> Sequence[Migration]:
    """Applies what the database lacks; what was applied. Safe to run in many processes at once."""
    if not await pending(connection):
        return []
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        await connection.execute(_PREPARE)
        todo = await pending(connection)
        for migration in todo:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO relaypost.schema_migrations (number, name) VALUES ($1, $2)",
                    migration.number,
                    migration.name,
                )
        return todo
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)
