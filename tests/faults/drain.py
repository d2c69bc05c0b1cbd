"""A large batch, drained by workers that are killed: `python -m tests.faults.drain --messages 100000 --every 4`.

It ends with 1 where a message was lost or sent twice without saying so, or where
a code waited too long behind the batch.
"""

import argparse
import asyncio
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from relaypost import AsyncClient, bulk_email
from relaypost.v1 import message_pb2, queue_service_pb2 as pb

from relaypost_server.store.embedded import EmbeddedPostgres
from tests.e2e.gateway import AWS_KEYS, gateway
from tests.fakes.http import Reply, Request, fake_http
from tests.faults.providers import TAKEN
from tests.peers import open_up

WORKERS = 2
LONGEST_WAIT = 1.0
"""Seconds: the 99th percentile of how long a code may wait."""
CODES_PAUSE = 0.5
"""Seconds between two codes."""
SETTLE_SECONDS = 60.0
ONLY_CODES = {"RELAYPOST_QUEUE_BULK_HANDS": "0", "RELAYPOST_QUEUE_TRANSACTIONAL_HANDS": "0"}
"""The gateway itself sends codes, as workers do; the batch is left to them."""
_SES_ID = re.compile(r'"relaypost_message_id","Value":"([^"]+)"')
_SENDGRID_ID = re.compile(r'"relaypost_message_id":"([^"]+)"')


@dataclass
class Drained:
    """What a run found."""

    messages: int
    submissions: Counter[str] = field(default_factory=Counter)
    """By message id; whole requests only."""
    arrived: dict[str, float] = field(default_factory=dict)
    codes: dict[str, float] = field(default_factory=dict)
    """When each code was queued."""
    kills: int = 0
    seconds: float = 0.0
    states: Counter[str] = field(default_factory=Counter)
    flagged: set[str] = field(default_factory=set)

    @property
    def lost(self) -> int:
        return self.messages - sum(m not in self.codes for m in self.submissions)

    @property
    def doubled(self) -> list[str]:
        """Messages that were sent more than once."""
        return [m for m, times in self.submissions.items() if times > 1]

    @property
    def waits(self) -> list[float]:
        return sorted(self.arrived[m] - queued for m, queued in self.codes.items() if m in self.arrived)

    @property
    def good(self) -> bool:
        waits = self.waits
        prompt = len(waits) == len(self.codes) and (not waits or waits[len(waits) * 99 // 100] <= LONGEST_WAIT)
        return not self.lost and set(self.doubled) <= self.flagged and prompt

    def __str__(self) -> str:
        waits = self.waits
        p99 = f"{waits[len(waits) * 99 // 100]:.3f} s" if waits else "-"
        return "\n".join(
            [
                f"{self.messages:,} messages drained in {self.seconds:.0f} s, {self.kills} workers killed",
                f"lost: {self.lost}",
                f"sent twice: {len(self.doubled)}, without saying so: {len(set(self.doubled) - self.flagged)}",
                f"flagged possible_duplicate: {len(self.flagged)}",
                f"codes: {len(self.codes)}, never arrived: {len(self.codes) - len(waits)}, p99 of the wait: {p99}",
                f"states: {dict(self.states)}",
            ]
        )


async def drain(messages: int, every: float, seed: int, home: Path) -> Drained:
    """Queues the messages, and kills a worker every so many seconds until they are sent."""
    found, chance = Drained(messages), random.Random(seed)
    server = EmbeddedPostgres(home / "postgres")
    await server.start()
    try:
        async with fake_http() as ses, fake_http() as sendgrid, AsyncExitStack() as stack:
            ses.reply = lambda request: _take(found, _SES_ID, TAKEN["ses"], request)
            sendgrid.reply = lambda request: _take(found, _SENDGRID_ID, TAKEN["sendgrid"], request)
            environ = _environ(ses.url, sendgrid.url)
            running = await stack.enter_async_context(gateway(environ, ONLY_CODES, database=server.url))
            client = await stack.enter_async_context(AsyncClient(running.grpc))
            fed = asyncio.create_task(client.send_bulk("drain", _letters(messages)))
            tasks = [asyncio.create_task(_work(environ, server.url, every, chance, found)) for _ in range(WORKERS)]
            tasks.append(asyncio.create_task(_codes(client, found)))
            began = time.monotonic()
            await fed
            await _until_drained(client)
            found.seconds = time.monotonic() - began
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await _settle(server.url, environ)
            await _read(server.url, found)
    finally:
        await server.stop()
    return found


def _environ(ses: str, sendgrid: str) -> dict[str, str]:
    return {
        **AWS_KEYS,
        "SENDGRID_API_KEY": "key",
        "RELAYPOST_SENDGRID_ENDPOINT": sendgrid,
        "RELAYPOST_SES_ENDPOINT": ses,
        "RELAYPOST_SES_RATE": "0",
        "RELAYPOST_SES_BREAKER_FAILURES": "1000",
        "RELAYPOST_SES_BREAKER_RATE": "2",
        "RELAYPOST_SNS_ENABLED": "false",
        "RELAYPOST_QUEUE_LEASE_SECONDS": "10",
    }


def _letters(messages: int) -> Iterator[pb.BulkMessage]:
    for number in range(messages):
        yield bulk_email(to=f"reader{number}@example.com", subject="News", text="All is well")


def _take(found: Drained, mark: "re.Pattern[str]", reply: Reply, request: Request) -> Reply:
    (message_id,) = mark.findall(request.body.decode())
    found.submissions[message_id] += 1
    found.arrived.setdefault(message_id, time.monotonic())
    return reply


async def _work(environ: dict[str, str], url: str, every: float, chance: random.Random, found: Drained) -> None:
    """A worker that is killed again and again."""
    while True:
        # The bundled PostgreSQL is not its own: only one process may own it.
        async with gateway(environ, database=url, command="work") as worker:
            await asyncio.sleep(chance.uniform(0.5, 1.5) * every * WORKERS)
            worker.process.send_signal(signal.SIGKILL)
            found.kills += 1


async def _codes(client: AsyncClient, found: Drained) -> None:
    """Codes that somebody waits for, all the while."""
    while True:
        queued = time.monotonic()
        message = await client.enqueue_email(to="ada@example.com", subject="Your code", text="482915", lane="otp")
        found.codes[message.message_id] = queued
        await asyncio.sleep(CODES_PAUSE)


async def _until_drained(client: AsyncClient) -> None:
    waiting = {message_pb2.MESSAGE_STATE_QUEUED, message_pb2.MESSAGE_STATE_SENDING, message_pb2.MESSAGE_STATE_FAILED}
    while True:
        batch = await client.get_batch("drain")
        if not any(s.state in waiting for s in batch.states):
            return
        await asyncio.sleep(1)


async def _settle(url: str, environ: dict[str, str]) -> None:
    """Lets a worker that nobody kills finish what is left."""
    async with gateway(environ, database=url, command="work"), asyncio.timeout(SETTLE_SECONDS):
        connection = await asyncpg.connect(url)
        try:
            while await connection.fetchval("SELECT count(*) FROM relaypost.queue"):
                await asyncio.sleep(0.2)
        finally:
            await connection.close()


async def _read(url: str, found: Drained) -> None:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT id::text, state, possible_duplicate FROM relaypost.messages")
    finally:
        await connection.close()
    found.states = Counter(row["state"] for row in rows)
    found.flagged = {row["id"] for row in rows if row["possible_duplicate"]}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--messages", type=int, default=100_000)
    options.add_argument("--every", type=float, default=4.0, help="seconds between two kills")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="relaypost-drain-") as folder:
        found = asyncio.run(drain(chosen.messages, chosen.every, chosen.seed, open_up(Path(folder))))
    print(found)
    return 0 if found.good else 1


if __name__ == "__main__":
    sys.exit(main())
