"""Messages are queued, and the answer to the COMMIT does not come: what is told must be true, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest

from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.queue import Lane, Pointer, Queued
from relaypost_server.core.queue_ports import EnqueueInDoubtError
from relaypost_server.store import enqueue as enqueue_module
from relaypost_server.store.hand_over import HandOverWithin
from relaypost_server.store.queue import PostgresQueue
from tests.databases import over_tcp, socket_of
from tests.fakes.last_words import Fate, LastWords, last_words
from tests.store.databases import opened
from tests.store.queues import LONG, LocalEngine, letter

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"

END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()
"""


@dataclass
class Site:
    """One gateway's queue, the way to its database, and another way to look at it."""

    queue: PostgresQueue
    way: LastWords
    look: asyncpg.Connection
    handed: list[Pointer] = field(default_factory=list)

    async def stored(self) -> list[str]:
        return [str(row[0]) for row in await self.look.fetch("SELECT message_id FROM relaypost.queue ORDER BY 1")]


@pytest.fixture
async def site(bundled_database: str, tmp_path: Path) -> AsyncIterator[Site]:
    look = await asyncpg.connect(bundled_database)
    async with (
        last_words(socket_of(bundled_database)) as way,
        opened(over_tcp(bundled_database, way.port), tmp_path) as database,
    ):
        handed: list[Pointer] = []
        queue = PostgresQueue(database, lease=LONG, hand_over=HandOverWithin(database, LocalEngine(handed)))
        await queue.enqueue([letter(lane=Lane.OTP)])
        await look.execute("DELETE FROM relaypost.queue")
        yield Site(queue, way, look, handed)
    await look.close()


def letters() -> list[Queued]:
    return [letter(), letter(name="order-7")]


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.UNANSWERED])
async def test_what_was_stored_or_not_is_found_out_and_stored_once(fate: Fate, site: Site) -> None:
    messages = letters()
    site.way.fate = fate
    assert [stored.new for stored in await site.queue.enqueue(messages)] == [True, True]
    assert await site.stored() == sorted(m.record.id for m in messages)


async def test_a_commit_that_still_runs_is_waited_for(site: Site) -> None:
    """The message is not there yet, and will be: to look for it would not do."""
    messages = letters()
    site.way.fate = Fate.LATE
    enqueuing = asyncio.create_task(site.queue.enqueue(messages))
    async with asyncio.timeout(20):
        while not await site.look.fetchval(WAITING):
            assert not enqueuing.done()
            await asyncio.sleep(0.02)
    site.way.deliver()
    assert [stored.new for stored in await enqueuing] == [True, True]
    assert await site.stored() == sorted(m.record.id for m in messages)


async def test_a_name_that_another_request_took_is_not_taken_for_new(site: Site) -> None:
    other = letter(name="order-7")
    await site.queue.enqueue([other])
    messages = letters()
    site.way.fate = Fate.UNANSWERED
    assert [stored.new for stored in await site.queue.enqueue(messages)] == [True, False]


async def test_where_it_cannot_be_found_out_nobody_is_told_that_nothing_was_queued(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enqueue_module, "FIND_OUT_SECONDS", 0.5)
    messages = letters()
    site.way.fate, site.way.stays_up = Fate.UNANSWERED, False
    with pytest.raises(EnqueueInDoubtError):
        await site.queue.enqueue(messages)
    assert await site.stored() == sorted(m.record.id for m in messages)


async def test_where_the_commit_was_not_begun_nothing_was_queued(site: Site) -> None:
    site.way.up = False
    await site.look.execute(END_OTHERS)
    with pytest.raises(LogUnavailableError):
        await site.queue.enqueue(letters())
    assert await site.stored() == []
