"""The table of pointers: what becomes of those of release 0.1, and how PostgreSQL finds the next ones."""

from uuid import uuid4

import asyncpg
import pytest

from relaypost_server.core.message import Channel
from relaypost_server.core.queue import Lane, Pointer
from relaypost_server.queues.postgres import SESSION, STATEMENTS, PgQueue
from relaypost_server.store import migrations

TABLES_OF_0_1 = """
CREATE TYPE relaypost.pgqueuer_status AS ENUM (
    'queued', 'picked', 'successful', 'exception', 'canceled', 'deleted', 'failed'
);
CREATE TABLE relaypost.pgqueuer (
    id bigserial PRIMARY KEY, priority integer NOT NULL, status relaypost.pgqueuer_status NOT NULL,
    entrypoint text NOT NULL, payload bytea
);
CREATE UNLOGGED TABLE relaypost.pgqueuer_log (job_id bigint, status relaypost.pgqueuer_status NOT NULL);
CREATE TABLE relaypost.pgqueuer_schedules (id bigserial, status relaypost.pgqueuer_status);
CREATE UNLOGGED TABLE relaypost.pgqueuer_statistics (id bigserial, status relaypost.pgqueuer_status NOT NULL);
CREATE FUNCTION relaypost.fn_pgqueuer_changed() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER tg_pgqueuer_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON relaypost.pgqueuer
    EXECUTE FUNCTION relaypost.fn_pgqueuer_changed();
"""
"""As PgQueuer 1.6 made them, without the columns and indexes that do not matter here."""
STORE = "INSERT INTO relaypost.pgqueuer (priority, status, entrypoint, payload) VALUES (0, $1, $2, $3)"
LEFT = """
SELECT relname::text FROM pg_class WHERE relname ~ 'pgqueuer'
UNION ALL SELECT proname::text FROM pg_proc WHERE proname ~ 'pgqueuer'
UNION ALL SELECT typname::text FROM pg_type WHERE typname ~ 'pgqueuer'
"""


async def test_pointers_of_release_0_1_are_carried_over(
    empty_bundled_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await asyncpg.connect(empty_bundled_database)
    earlier = migrations.all_migrations()[:13]
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "all_migrations", lambda: earlier)
        await migrations.migrate(connection)
    await connection.execute(TABLES_OF_0_1)
    given = [Pointer(str(uuid4()), Lane.BULK, channel) for channel in (Channel.EMAIL, Channel.SMS, Channel.EMAIL)]
    for status, pointer in zip(("queued", "picked", "queued"), given, strict=True):
        await connection.execute(STORE, status, "bulk", str(pointer).encode())
    for garbage in (b"\xff\x00", b"garbage", None):
        await connection.execute(STORE, "queued", "bulk", garbage)
    await migrations.migrate(connection)
    assert await connection.fetch(LEFT) == []
    await connection.close()
    queue = PgQueue(lambda: asyncpg.connect(empty_bundled_database))
    assert [one.pointer for one in await queue.take(Lane.BULK, most=10, wait=0.0)] == given
    await queue.close()


@pytest.mark.parametrize(
    ("statement", "arguments"),
    [
        ("take_pointers", "'bulk', 8"),
        ("filled_lanes", "'{bulk}'"),
        ("forget_pointers", "'{1}'"),
        ("heartbeat_pointers", "'{1}'"),
    ],
)
async def test_a_plan_made_for_an_empty_table_reads_an_index_and_sorts_nothing(
    bundled_database: str, statement: str, arguments: str
) -> None:
    connection = await asyncpg.connect(bundled_database)
    await connection.execute("VACUUM ANALYZE relaypost.pointers")
    await connection.execute(f"{SESSION}; SET plan_cache_mode = force_generic_plan")
    await connection.execute(f"PREPARE kept AS {STATEMENTS[statement]}")
    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE kept ({arguments})"))
    await connection.close()
    assert "Index" in plan
    assert "Sort" not in plan
    assert "Seq Scan on pointers" not in plan
