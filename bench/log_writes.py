"""The batched log beside one statement, and two statements, a message."""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.failover import Attempt
from relaypost_server.core.ids import uuid7
from relaypost_server.core.message import Channel, Guarantee, MessageState
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.record import MessageRecord
from relaypost_server.flow.background import BackgroundTasks
from relaypost_server.store.database import Database
from relaypost_server.store.messages import PostgresLog
from relaypost_server.store.rows import batch, inserted
from relaypost_server.store.spool import Spool
from relaypost_server.store.sql import QUERIES
from relaypost_server.telemetry.metrics import Metrics

IN_FLIGHT = 64
CONNECTIONS = 8
_UPDATE = "UPDATE relaypost.messages SET state = 'sent', update_time = now() WHERE id = $1"


def measure(url: str, messages: int) -> dict[str, float]:
    """Messages a second: batched, one insert each, insert and update each."""
    return asyncio.run(_measure(url, messages))


async def _measure(url: str, messages: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as home:
        spool = Spool.open(Path(home), max_bytes=1024 * 1024)
        database = Database(url, spool, auto_migrate=True, metrics=Metrics(), tasks=BackgroundTasks())
        await database.start()
        while not database.health().available:
            await asyncio.sleep(0.05)
        rates = await _rates(url, PostgresLog(database), messages)
        await database.stop()
        return rates


async def _rates(url: str, log: PostgresLog, messages: int) -> dict[str, float]:
    async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:

        async def insert(record: MessageRecord) -> None:
            await pool.execute(QUERIES["write_batch"], batch([inserted(record)]))

        async def insert_and_update(record: MessageRecord) -> None:
            await insert(record)
            await pool.execute(_UPDATE, record.id)

        return {
            "batched": await _rate(log.append, messages),
            "insert": await _rate(insert, messages // 4),
            "insert + update": await _rate(insert_and_update, messages // 4),
        }


async def _rate(write: Callable[[MessageRecord], Awaitable[object]], messages: int) -> float:
    async def worker() -> None:
        for _ in range(messages // IN_FLIGHT):
            await write(new_record())

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return messages // IN_FLIGHT * IN_FLIGHT / (time.perf_counter() - began)


def new_record() -> MessageRecord:
    """A message that was sent, with an id of its own."""
    return replace(_MODEL, id=uuid7(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10))))


_NOW = datetime.now(UTC)
_MODEL = MessageRecord(
    id="",
    channel=Channel.EMAIL,
    state=MessageState.SENT,
    guarantee=Guarantee.AT_LEAST_ONCE,
    sender="noreply@example.com",
    recipients=("ada@example.com",),
    create_time=_NOW,
    update_time=_NOW,
    provider="ses",
    provider_message_id="0100-000",
    tags={},
    metadata={},
    attempts=(
        Attempt(
            provider="ses",
            outcome=Outcome(kind=Kind.ACCEPTED, provider_message_id="0100-000"),
            circuit=CircuitState.CLOSED,
            start_time=_NOW,
            duration=0.012,
        ),
    ),
)
