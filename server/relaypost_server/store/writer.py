"""Writes the log in batches over one connection.

While one batch is on its way the next one fills. A quiet gateway writes each
document at once; a busy one waits GATHER_SECONDS between batches, for a
statement costs as much for thirty messages as for ten.

What the database does not take in time goes to the local spool, and from there
to the database, in order, once it is back. Only what needs the database's word
(a claim, an attempt about to start) is refused instead.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable

import asyncpg
import structlog

from relaypost_server.cancellation import is_cancelled
from relaypost_server.core.background import Running, Supervisor, Task
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.store.batch_statement import runs, write
from relaypost_server.store.overflow import Entry, Overflow
from relaypost_server.store.spool import Spool
from relaypost_server.time_limit import TimeLimit

LARGEST_BATCH = 1000
"""Documents in one statement."""
LARGEST_BACKLOG = 20_000
"""Documents that wait in memory for their turn; some 20 MB."""
ANSWER_SECONDS = 0.15
"""How long a commit may take before the spool is used; it fits into the reserve of a send's deadline."""
WORD_SECONDS = 2.0
"""How long to wait for the database's word."""
GATHER_SECONDS = 0.003
"""Between two batches of which the first had company: short beside any provider's answer."""
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between attempts to reach the database; the last one repeats."""

Connect = Callable[[], Awaitable["asyncpg.Connection"]]

log = structlog.get_logger("relaypost.log")


class UnansweredError(LogUnavailableError):
    """The database was asked and did not answer: it may have done what it was asked."""


class RefusedError(LogUnavailableError):
    """The database accepts other documents, but not this one."""


class BatchWriter:
    """Hands documents to the database, or to the spool while it is away."""

    def __init__(self, connect: Connect, spool: Spool, *, on_drop: Callable[[int], None], tasks: Supervisor) -> None:
        """`connect` opens the database, its schema in place; `on_drop` counts documents that are lost."""
        self._tasks = tasks
        self._connect = connect
        self._on_drop = on_drop
        self._backlog: deque[Entry] = deque()
        self._batch: dict[str, Entry] = {}
        """The documents in flight, by message. A second document of a message waits for the next statement."""
        self._work = asyncio.Event()
        self._overflow = Overflow(spool, on_kept=self._work.set, on_drop=on_drop, tasks=tasks)
        self._late = False
        self._failures = 0
        self._tried = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self._task: Running | None = None

    @property
    def available(self) -> bool:
        """Whether the database is connected and keeps up."""
        return self._connection is not None and not self._connection.is_closed() and not self._late

    @property
    def waiting(self) -> int:
        """Documents that the database does not have yet."""
        return len(self._backlog) + len(self._batch) + self._overflow.waiting

    @property
    def spool_bytes(self) -> int:
        return self._overflow.size

    async def start(self, *, seconds: float) -> None:
        """Begins to connect, and waits at most so long for what comes of it, which may be nothing."""
        self._work.set()
        self._overflow.start()
        self._task = self._tasks.start(Task(name="batch_writer", round=self._run))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._tried.wait(), seconds)

    async def stop(self, *, seconds: float) -> None:
        """Writes waiting documents for at most `seconds`, then spools the rest for the next process."""
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._unsafe or (self.available and self.waiting):  # noqa: ASYNC110 - a process's last seconds
                    await asyncio.sleep(0.01)
        await self._task.stop()
        self._be_late()
        await self._overflow.stop()
        if self._connection is not None:
            self._connection.terminate()

    def append(self, message_id: str, document: bytes) -> "asyncio.Future[bool]":
        """True once the document is in the database or on disk. Never raises."""
        entry = Entry(message_id, document, spoolable=True)
        if self._late or self._overflow.waiting:  # Order: it comes after what is on disk.
            self._overflow.keep([entry])
        else:
            self._put(entry)
        return entry.answer

    async def write(self, message_id: str, document: bytes) -> bool:
        """Whether the document took effect in the database. Raises LogUnavailableError."""
        if self._failures or len(self._backlog) >= LARGEST_BACKLOG:
            raise LogUnavailableError
        entry = Entry(message_id, document, spoolable=False)
        self._put(entry)
        try:
            async with asyncio.timeout(WORD_SECONDS):
                return await entry.answer
        except TimeoutError:
            raise UnansweredError from None

    @property
    def _unsafe(self) -> int:
        """Documents that a crash would lose."""
        in_memory = (*self._backlog, *self._batch.values())
        return sum(e.spoolable and not e.overflowed for e in in_memory) + self._overflow.unsafe

    def _put(self, entry: Entry) -> None:
        self._backlog.append(entry)
        self._work.set()

    async def _run(self) -> None:
        patience = TimeLimit(self._be_late)
        while True:
            await self._work.wait()
            patience.start(ANSWER_SECONDS)
            try:
                written = await self._write_batch()
                await self._drain()
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled():
                    raise
                self._retreat(error)
                await asyncio.sleep(PAUSES[min(self._failures, len(PAUSES)) - 1])
                continue
            finally:
                patience.stop()
            self._late, self._failures = False, 0
            self._tried.set()
            if not self._backlog and not self._overflow.readable:
                self._work.clear()
            if written > 1:
                await asyncio.sleep(GATHER_SECONDS)

    def _be_late(self) -> None:
        """From now on, until a batch goes well again, the spool takes what can wait."""
        self._late = True
        kept = [e for e in (*self._batch.values(), *self._backlog) if e.spoolable]
        self._backlog = deque(e for e in self._backlog if not e.spoolable)
        self._overflow.keep(kept)

    async def _write_batch(self) -> int:
        """The number of documents that were waiting."""
        connection = await self._connected()
        self._fill_batch()
        result = await write(connection, {e.id: e.document for e in self._batch.values()})
        for entry in self._batch.values():
            if entry.id not in result.refused:
                entry.settle(entry.spoolable or entry.id in result.effective)
            elif not entry.overflowed:  # Otherwise it comes back from the disk, and is refused then.
                await self._refuse(entry, result.refused[entry.id])
        written = len(self._batch)
        self._batch.clear()
        return written

    def _fill_batch(self) -> None:
        """Takes documents into the next statement. A claim whose sender was cancelled is left out; a record is not."""
        while self._backlog and len(self._batch) < LARGEST_BATCH and self._backlog[0].id not in self._batch:
            entry = self._backlog.popleft()
            if entry.spoolable or not entry.answer.cancelled():
                self._batch[entry.id] = entry

    async def _refuse(self, entry: Entry, reason: str) -> None:
        """It must not take the others with it, nor come again."""
        if entry.spoolable:
            entry.settle(False)
        else:
            entry.fail(RefusedError())
        await self._overflow.refuse(entry.document, reason)

    async def _drain(self) -> None:
        """Takes a batch back from the disk, or what the disk refuses."""
        for entry in self._overflow.take_back():
            self._put(entry)
        if not self._overflow.readable or self._connection is None:
            return
        found = await self._overflow.peek(LARGEST_BATCH)
        if found is None:
            return
        refused: list[tuple[bytes, str]] = []
        for run in runs(found.documents):
            result = await write(self._connection, run)
            refused += [(run[message_id], reason) for message_id, reason in result.refused.items()]
        for document, reason in refused:
            await self._overflow.refuse(document, reason)
        await self._overflow.advance(found)

    async def _connected(self) -> "asyncpg.Connection":
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
            self._connection.add_termination_listener(lambda _: self._work.set())
            log.info("message log connected", waiting=self.waiting)
        return self._connection

    def _retreat(self, error: BaseException) -> None:
        """Nothing is lost: what can wait is spooled. Writing it twice is harmless."""
        report = log.debug if self._failures else log.error
        report("message log unavailable", error=type(error).__name__, waiting=self.waiting)
        self._failures += 1
        self._tried.set()
        self._be_late()
        for entry in (*self._batch.values(), *self._backlog):
            if not entry.spoolable:
                entry.fail(UnansweredError())
        self._batch.clear()
        self._backlog.clear()
        self._work.set()
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
