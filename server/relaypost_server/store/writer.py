"""Writes the log in batches over one connection.

While one batch is on its way the next one fills. A quiet gateway writes each
message at once; a busy one waits GATHER_SECONDS between batches, for a
statement costs as much for thirty messages as for ten.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import asyncpg
import structlog

from relaypost_server.core.record import MessageRecord
from relaypost_server.store.rows import to_json
from relaypost_server.store.sql import QUERIES

LARGEST_BATCH = 1000
"""Messages in one statement."""
LARGEST_BACKLOG = 20_000
"""Messages that wait in memory while the database is away; some 40 MB."""
ANSWER_SECONDS = 0.15
"""How long a caller waits for the commit; it fits into the reserve of a send's deadline."""
GATHER_SECONDS = 0.003
"""Between two batches of which the first had company: short beside any provider's answer."""
STATEMENT_SECONDS = 30.0
"""A statement that takes longer has lost its connection."""
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between attempts to reach the database; the last one repeats."""

Connect = Callable[[], Awaitable["asyncpg.Connection"]]
_OF_ONE_ROW = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError, TypeError)
"""Errors that one record may cause; ValueError is how asyncpg refuses a value itself."""

log = structlog.get_logger("relaypost.log")


class _Entry:
    """A record on its way, and whoever waits for its commit."""

    __slots__ = ("committed", "record")

    def __init__(self, record: MessageRecord) -> None:
        self.record = record
        self.committed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def answer(self, committed: bool) -> None:
        if not self.committed.done():
            self.committed.set_result(committed)


class BatchWriter:
    """Appends records, and keeps them in memory while the database is away."""

    def __init__(self, connect: Connect, *, on_drop: Callable[[int], None]) -> None:
        """`connect` opens the database, its schema in place; `on_drop` counts records that are lost."""
        self._connect = connect
        self._on_drop = on_drop
        self._backlog: deque[_Entry] = deque()
        self._batch: list[_Entry] = []
        self._work = asyncio.Event()
        self._late = False
        self._connection: asyncpg.Connection | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def available(self) -> bool:
        """Whether the database is connected and keeps up."""
        return self._connection is not None and not self._connection.is_closed() and not self._late

    @property
    def waiting(self) -> int:
        """Records that are not committed yet."""
        return len(self._backlog) + len(self._batch)

    def start(self) -> None:
        self._work.set()
        self._task = asyncio.create_task(self._run())

    async def stop(self, *, seconds: float) -> None:
        """Writes what waits, for at most `seconds`."""
        if self._task is None:
            return
        try:
            async with asyncio.timeout(seconds):
                while self.waiting:  # noqa: ASYNC110 - an event for the last seconds of a process is not worth it
                    await asyncio.sleep(0.01)
        except TimeoutError:
            log.error(  # noqa: TRY400 - the time-out is not the news
                "messages left out of the log", messages=self.waiting
            )
            self._on_drop(self.waiting)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._connection is not None:
            self._connection.terminate()

    async def append(self, record: MessageRecord) -> bool:
        """True once the record is committed; False where that takes longer than a caller should wait."""
        if len(self._backlog) >= LARGEST_BACKLOG:
            self._drop(record, "the backlog is full")
            return False
        entry = _Entry(record)
        self._backlog.append(entry)
        self._work.set()
        if self._late or len(self._backlog) > LARGEST_BATCH:
            return False
        return await entry.committed

    async def _run(self) -> None:
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            await self._work.wait()
            # Past this moment callers are told not to wait, until a batch goes well again.
            late = loop.call_later(ANSWER_SECONDS, self._be_late)
            try:
                written = await self._write_batch()
            except Exception as error:
                self._retreat(error, first=failures == 0)
                await asyncio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
                failures += 1
                continue
            finally:
                late.cancel()
            self._late, failures = False, 0
            if written > 1:
                await asyncio.sleep(GATHER_SECONDS)

    def _be_late(self) -> None:
        self._late = True
        for entry in (*self._batch, *self._backlog):
            entry.answer(False)

    async def _write_batch(self) -> int:
        """The number of records that were waiting."""
        connection = await self._connected()
        while self._backlog and len(self._batch) < LARGEST_BATCH:
            self._batch.append(self._backlog.popleft())
        try:
            await self._insert(connection, self._batch)
        except _OF_ONE_ROW:
            await self._write_singly(connection)
        for entry in self._batch:
            entry.answer(True)
        written = len(self._batch)
        self._batch.clear()
        if not self._backlog:
            self._work.clear()
        return written

    async def _write_singly(self, connection: "asyncpg.Connection") -> None:
        """One record is unacceptable: it must not take the others with it."""
        for entry in list(self._batch):
            try:
                await self._insert(connection, [entry])
            except _OF_ONE_ROW as error:
                self._drop(entry.record, type(error).__name__)
                self._batch.remove(entry)
                entry.answer(False)

    async def _insert(self, connection: "asyncpg.Connection", entries: list[_Entry]) -> None:
        if entries:
            documents = to_json([e.record for e in entries])
            await connection.execute(QUERIES["insert_records"], documents, timeout=STATEMENT_SECONDS)

    async def _connected(self) -> "asyncpg.Connection":
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
            self._connection.add_termination_listener(lambda _: self._work.set())
            log.info("message log connected", waiting=self.waiting)
        return self._connection

    def _retreat(self, error: Exception, *, first: bool) -> None:
        """Nothing is lost: the batch goes back to the head of the backlog. Writing it twice is harmless."""
        self._backlog.extendleft(reversed(self._batch))
        self._batch.clear()
        self._work.set()
        self._be_late()
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
        report = log.error if first else log.debug
        report("message log unavailable", error=type(error).__name__, waiting=self.waiting)

    def _drop(self, record: MessageRecord, why: str) -> None:
        log.error("message dropped from the log", message_id=record.id, why=why)
        self._on_drop(1)
