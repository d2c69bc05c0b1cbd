"""Where documents wait when the database does not take them: the local spool, seen from the event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import orjson
import structlog

from relaypost_server.core.background import Running, Supervisor, Task
from relaypost_server.store.spool import Batch, Record, Spool

MOST_PENDING = 20_000
"""Documents that wait in memory for the disk; some 20 MB."""
DISK_SECONDS = 0.5
"""How long the senders of documents wait for the disk: a disk that hangs must not hold up their callers."""
LAST_WRITE_SECONDS = 3.0
"""Seconds to write pending documents to the disk when the gateway stops."""
REST_SECONDS = 1.0
"""Before a disk that failed, or had no room, is tried again."""

T = TypeVar("T")

log = structlog.get_logger("relaypost.log")


class Entry:
    """A document on its way, and the answer that its sender waits for."""

    __slots__ = ("answer", "document", "id", "overflowed", "spoolable")

    def __init__(self, message_id: str, document: bytes, *, spoolable: bool) -> None:
        self.id = message_id
        self.document = document
        self.spoolable = spoolable
        self.overflowed = False
        """The spool has it, or is about to have it."""
        self.answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def settle(self, answer: bool) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Overflow:
    """Keeps documents on disk, in order, until they are taken back."""

    def __init__(
        self, spool: Spool, *, on_kept: Callable[[], None], on_drop: Callable[[int], None], tasks: Supervisor
    ) -> None:
        """`on_kept` is called when there is something to take back; `on_drop` counts what had no room."""
        self._spool = spool
        self._tasks = tasks
        self._on_kept = on_kept
        self._on_drop = on_drop
        self._pending: list[Entry] = []
        self._writing = 0
        self._rests = False
        """The disk could not be read."""
        self._refuses = False
        """The disk could not be written, or had no room."""
        self._stopping = False
        self._work = asyncio.Event()
        self._disk = asyncio.Lock()
        self._task: Running | None = None

    @property
    def waiting(self) -> int:
        """Documents that have not been taken back."""
        return self.unsafe + self._spool.waiting

    @property
    def readable(self) -> bool:
        """Whether `peek` may find something."""
        return bool(self._spool.waiting) and not self._rests

    @property
    def unsafe(self) -> int:
        """Documents that a crash would lose."""
        return len(self._pending) + self._writing

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._spool.size

    def start(self) -> None:
        self._task = self._tasks.start(Task(name="spool", round=self._run))

    async def stop(self) -> None:
        """Writes what is pending, and leaves what is on disk to the next process."""
        self._stopping = True
        self._work.set()
        if self._task is not None:
            await self._task.stop(grace=LAST_WRITE_SECONDS)
        lost, self._pending = self._pending, []
        self._drop(lost, "the disk did not take it before the gateway stopped")
        await self._on_disk(self._spool.close)

    def keep(self, entries: Iterable[Entry]) -> None:
        """Settles each entry: true once it is on disk, false where that has to wait. An entry is taken once.

        What the disk does not take waits in memory, and is dropped only where that is full.
        """
        new = [entry for entry in entries if not entry.overflowed]
        for entry in new:
            entry.overflowed = True
        room = max(0, MOST_PENDING - len(self._pending))
        self._pending += new[:room]
        self._drop(new[room:], "the disk does not take it")
        asyncio.get_running_loop().call_later(DISK_SECONDS, _stop_waiting, new)
        self._work.set()

    def take_back(self) -> Sequence[Entry]:
        """The entries that the disk refuses, once nothing older is on it: the database may take them directly."""
        if not self._refuses or self._spool.waiting:
            return []
        entries, self._pending = self._pending, []
        for entry in entries:
            entry.overflowed = False
        return entries

    async def peek(self, limit: int) -> Batch | None:
        """The oldest documents on disk; None where there are none, or where the disk cannot be read now."""
        try:
            batch = await self._on_disk(lambda: self._spool.peek(limit))
        except OSError as error:
            log.warning("spool cannot be read", error=error.strerror)
            self._rest()
            return None
        if batch is not None and batch.altered:
            log.error("records altered on disk are set aside", records=batch.altered)
            self._on_drop(batch.altered)
        return batch

    async def advance(self, batch: Batch) -> None:
        """Is done with what the last `peek` returned."""
        await self._on_disk(lambda: self._spool.advance(batch))

    async def refuse(self, document: bytes, reason: str) -> None:
        """Keeps a document that the database refuses in a file for operators."""
        record = _record(document)
        self._on_drop(1)
        log.error("message dropped from the log", message_id=record.message_id, why=reason)
        try:
            await self._on_disk(lambda: self._spool.refuse(record, reason))
        except OSError as error:
            log.warning("refused record not kept", message_id=record.message_id, error=error.strerror)

    async def _run(self) -> None:
        while not (self._stopping and not self._pending):
            await self._work.wait()
            self._work.clear()
            if self._stopping or not self._refuses:
                await self._write_pending()
            if self._stopping and self._refuses:
                return
            self._on_kept()

    async def _write_pending(self) -> None:
        """Whatever happens, each entry is either on disk, or pending as before."""
        entries, self._pending = self._pending, []
        self._writing, self._refuses = len(entries), False
        written: list[int] = []
        try:
            await self._on_disk(lambda: written.append(self._spool.append([_record(e.document) for e in entries])))
        except Exception as error:
            log.error("spool cannot be written", error=str(error))  # noqa: TRY400 - the text says it all
        finally:  # Also when cancelled: the thread came to its end.
            self._writing, kept = 0, sum(written)
            for entry in entries[:kept]:
                entry.settle(True)
            self._put_back(entries[kept:])

    def _put_back(self, entries: Sequence[Entry]) -> None:
        """Nobody waits for entries that the disk refuses; they are tried again later."""
        if not entries:
            return
        _stop_waiting(entries)
        self._pending[:0] = entries
        self._refuses = True
        asyncio.get_running_loop().call_later(REST_SECONDS, self._try_again)

    def _try_again(self) -> None:
        self._refuses = False
        self._work.set()

    async def _on_disk(self, work: Callable[[], T]) -> T:
        """One thread at a time."""
        async with self._disk:
            return await _to_the_end(asyncio.to_thread(work))

    def _rest(self) -> None:
        self._rests = True
        asyncio.get_running_loop().call_later(REST_SECONDS, self._rested)

    def _rested(self) -> None:
        self._rests = False
        self._on_kept()

    def _drop(self, entries: Sequence[Entry], why: str) -> None:
        for entry in entries:
            log.error("message dropped from the log", message_id=entry.id, why=why)
            entry.settle(False)
        if entries:
            self._on_drop(len(entries))


def _stop_waiting(entries: Sequence[Entry]) -> None:
    """Their senders go on; the entries are written all the same."""
    for entry in entries:
        entry.settle(False)


async def _to_the_end(work: Awaitable[T]) -> T:
    """Waits for a thread even when cancelled: the files must not be used by two."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _record(document: bytes) -> Record:
    """The document with its key."""
    parsed: dict[str, Any] = orjson.loads(document)
    return Record(str(parsed["id"]), parsed["op"], parsed.get("fence") or 0, document)
