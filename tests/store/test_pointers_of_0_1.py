"""Messages that a gateway of 0.1 queues while the first new one migrates."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from relaypost_server.core.message import Channel
from relaypost_server.core.queue import Lane, Pointer
from relaypost_server.queues.postgres import PgQueue
from relaypost_server.store import migrations
from tests.queues.test_postgres import STORE, TABLES_OF_0_1


async def test_a_pointer_that_is_being_stored_while_the_table_is_carried_over_is_not_lost(
    empty_bundled_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message of a lost pointer waits six hours for another one (`relay.LOST_SECONDS`)."""
    old, new = [await asyncpg.connect(empty_bundled_database) for _ in range(2)]
    earlier = migrations.all_migrations()[:13]
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "all_migrations", lambda: earlier)
        await migrations.migrate(new)
    await new.execute(TABLES_OF_0_1)
    given = Pointer(str(uuid4()), Lane.TRANSACTIONAL, Channel.EMAIL)
    async with old.transaction():  # As 0.1.0 stores a message and its pointer together.
        await old.execute(STORE, "queued", given.lane.value, str(given).encode())
        migrating = asyncio.create_task(migrations.migrate(new))
        await asyncio.sleep(0.5)
    await migrating
    await old.close()
    await new.close()
    queue = PgQueue(lambda: asyncpg.connect(empty_bundled_database))
    assert [one.pointer for one in await queue.take(given.lane, most=10, wait=0.0)] == [given]
    await queue.close()
