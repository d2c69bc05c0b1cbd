"""PgQueuer: the queue in the gateway's own database, and the default.

A job is stored in the transaction that stores its message, so neither is ever
without the other. PgQueuer's own workers are not used: they would decide on
retries, which is for `core.queue` to decide.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg
import structlog
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.models import Job
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import JobId, QueueEntrypoint, QueueManagerId
from pgqueuer.ports.repository import EntrypointExecutionParameter

from relaypost_server.core.background import Task
from relaypost_server.core.queue import Lane, Pointer
from relaypost_server.core.queue_ports import QueueUnavailableError, Taken
from relaypost_server.postgres_errors import is_unavailable
from relaypost_server.queues import _pointers
from relaypost_server.queues._pg_lookout import LOOK, Lookout

SILENCE = timedelta(seconds=60)
"""A worker that has not been heard of for so long has lost its jobs."""
HEARTBEAT_SECONDS = 20.0
LOG_KEPT_SECONDS = 3600.0
ASK_SECONDS = 10.0
"""For one question to the database; then its connection counts as lost."""
CLOSE_SECONDS = 2.0

Connect = Callable[[], Awaitable[asyncpg.Connection]]
T = TypeVar("T")
_LOST = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresError)
"""What a statement may raise; whatever connecting raises means that there is no connection."""

log = structlog.get_logger("relaypost.queue")


class PgQueue:
    """A `core.queue_ports.Queue`."""

    def __init__(
        self,
        connect: Connect,
        *,
        auto_migrate: bool,
        silence: timedelta = SILENCE,
        heartbeat: float = HEARTBEAT_SECONDS,
        ask: float = ASK_SECONDS,
    ) -> None:
        """`connect` opens the gateway's database; without `auto_migrate` PgQueuer's tables must be there."""
        self._connect = connect
        self._auto_migrate = auto_migrate
        self._silence = silence
        self._heartbeat = heartbeat
        self._ask_seconds = ask
        self._worker = QueueManagerId(uuid4())
        self._lookout = Lookout(self._look)
        self._in_hand: dict[JobId, Job] = {}
        self._prepared = False
        """Whether PgQueuer's tables are known to be there."""
        self._connection: asyncpg.Connection | None = None
        self._shared: Queries | None = None
        self._connecting = asyncio.Lock()

    async def start(self) -> None:
        with contextlib.suppress(QueueUnavailableError):  # It is tried again with each question.
            await self._queries()

    def tasks(self) -> Sequence[Task]:
        pause = self._heartbeat
        return [Task(name="queue_heartbeat", round=self._beat, pause=pause, first=pause)]

    async def close(self) -> None:
        """Gives back what is in hand."""
        if self._in_hand:
            with contextlib.suppress(QueueUnavailableError, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._give_back(list(self._in_hand.values()))
        if self._connection is not None:
            self._connection.terminate()

    async def prepare(self) -> None:
        """Makes PgQueuer's tables unless they are there. Connects: not to be called while a transaction is open."""
        if not self._prepared:
            await self._queries()

    async def store(self, connection: Any, pointers: Sequence[Pointer]) -> None:
        """As `put`, within the transaction of a connection, after `prepare`."""
        await _enqueue(_queries(connection), pointers)

    async def put(self, pointers: Sequence[Pointer]) -> None:
        """On a connection of its own, for the shared one does not wait for the disk."""
        try:
            async with asyncio.timeout(self._ask_seconds):
                await self.prepare()
                connection = await self._connect()
                try:
                    await self.store(connection, pointers)
                finally:
                    connection.terminate()
        except QueueUnavailableError:
            raise
        except Exception as error:
            raise QueueUnavailableError(type(error).__name__) from error

    async def take(self, lane: Lane, *, most: int, wait: float) -> Sequence[Taken]:
        end = asyncio.get_running_loop().time() + wait
        lanes = {QueueEntrypoint(lane.value): EntrypointExecutionParameter(concurrency_limit=0)}
        while True:
            jobs = await self._ask(lambda queries: queries.dequeue(most, lanes, self._worker, None, self._silence))
            taken = await self._read(jobs, lane)
            left = end - asyncio.get_running_loop().time()
            if taken or left <= 0 or not await self._lookout.wait(lane, left):
                return taken

    async def _look(self, lanes: Collection[str]) -> Collection[str]:
        found = await self._ask(lambda queries: queries.driver.fetch(LOOK, list(lanes), self._silence))
        return {str(row["lane"]) for row in found}

    async def done(self, taken: Sequence[Taken]) -> None:
        await self._forget([one.handle for one in taken])

    async def give_back(self, taken: Sequence[Taken]) -> None:
        await self._give_back([one.handle for one in taken])

    async def _give_back(self, jobs: Sequence[Job]) -> None:
        self._let_go(jobs)  # Whatever becomes of this, they come again.
        for job in jobs:
            await self._ask(lambda queries, job=job: queries.retry_job(job, timedelta(0), None))  # type: ignore[misc]

    def _let_go(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._in_hand.pop(job.id, None)

    async def _read(self, jobs: Sequence[Job], lane: Lane) -> Sequence[Taken]:
        read = [(job, _pointers.read(job.payload or b"", lane)) for job in jobs]
        unreadable = [job for job, pointer in read if pointer is None]
        if unreadable:
            with contextlib.suppress(QueueUnavailableError):  # What is not thrown away comes again.
                await self._forget(unreadable)
        taken = [Taken(pointer, job) for job, pointer in read if pointer is not None]
        self._in_hand |= {one.handle.id: one.handle for one in taken}
        return taken

    async def _forget(self, jobs: Sequence[Job]) -> None:
        await self._ask(lambda queries: queries.log_jobs([(job, "successful", None) for job in jobs]))
        self._let_go(jobs)

    async def _ask(self, question: Callable[[Queries], Awaitable[T]]) -> T:
        queries = await self._queries()
        try:
            async with asyncio.timeout(self._ask_seconds):
                return await question(queries)
        except _LOST as error:
            if is_unavailable(error) and self._connection is not None:
                self._connection.terminate()  # Another server may be the primary by now.
            raise QueueUnavailableError(type(error).__name__) from error

    async def _queries(self) -> Queries:
        """PgQueuer on a connection of its own, its tables in place. Raises QueueUnavailableError."""
        async with self._connecting:
            if self._shared is not None and self._connection is not None and not self._connection.is_closed():
                return self._shared
            try:
                async with asyncio.timeout(self._ask_seconds):
                    self._connection = await self._connect()
                    await self._connection.execute(_HOW_TO_TAKE)
                    self._shared = _queries(self._connection)
                    if self._auto_migrate:
                        await self._shared.upgrade()
                    self._prepared = True
            except Exception as error:
                self._shared = None
                if self._connection is not None:
                    self._connection.terminate()
                raise QueueUnavailableError(type(error).__name__) from error
            return self._shared

    async def _beat(self) -> None:
        try:
            if self._in_hand:
                await self._ask(lambda queries: queries.update_heartbeat(list(self._in_hand)))
            await self._ask(lambda queries: queries.driver.execute(_FORGET_LOG, LOG_KEPT_SECONDS))
        except QueueUnavailableError as error:
            log.warning("queue out of reach", error=str(error))


_SETTINGS = DBSettings(db_schema="relaypost", prefix="", durability=Durability.balanced)
_HOW_TO_TAKE = "SET synchronous_commit = off; SET enable_sort = off; SET enable_seqscan = off"
"""A take or an end that a crash of PostgreSQL forgets only makes a pointer come again, so neither waits for the disk.
The queue grows faster than PostgreSQL's statistics, by which it would sort a hundred thousand jobs to find eight."""
_FORGET_LOG = "DELETE FROM relaypost.pgqueuer_log WHERE created < now() - make_interval(secs => $1)"
"""The jobs that are over are on record in the message log."""


def _queries(connection: Any) -> Queries:
    return Queries(
        AsyncpgDriver(connection),
        qbe=QueryBuilderEnvironment(settings=_SETTINGS),
        qbq=QueryQueueBuilder(settings=_SETTINGS),
    )


async def _enqueue(queries: Queries, pointers: Sequence[Pointer]) -> None:
    count = len(pointers)
    await queries.enqueue([p.lane.value for p in pointers], [str(p).encode() for p in pointers], [0] * count)
