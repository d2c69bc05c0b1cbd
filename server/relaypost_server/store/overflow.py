"""Where documents wait when the database does not take them: the local spool, seen from the event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import orjson
import structlog

from relaypost_server.core.background import Running, Supervisor, Task
from relaypost_server.store.spool import Batch, Spool

MOST_PENDING = 20_000
"""Documents that wait in memory for the disk; some 20 MB."""

T = TypeVar("T")

log = structlog.get_logger("relaypost.log")


class Entry:
    """A document on its way, and whoever waits for what becomes of it."""

    __slots__ = ("answer", "document", "id", "spoolable")

    def __init__(self, message_id: str, document: bytes, *, spoolable: bool) -> None:
        self.id = message_id
        self.document = document
        self.spoolable = spoolable
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
        self._work = asyncio.Event()
        self._disk = asyncio.Lock()
        self._task: Running | None = None

    @property
    def waiting(self) -> int:
        """Documents that have not been taken back."""
        return self.unsafe + self._spool.waiting

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
        """Leaves what is on disk to the next process."""
        if self._task is not None:
            await self._task.stop()
        await self._on_disk(self._spool.close)

    def keep(self, entries: Iterable[Entry]) -> None:
        """Settles each entry: true once it is on disk, false where there is no room for it."""
        self._pending += entries
        if len(self._pending) > MOST_PENDING:
            self._drop(self._pending[MOST_PENDING:])
            del self._pending[MOST_PENDING:]
        self._work.set()

    async def peek(self, limit: int) -> Batch | None:
        """The oldest documents on disk. Raises OSError."""
        return await self._on_disk(lambda: self._spool.peek(limit))

    async def advance(self, batch: Batch) -> None:
        """Forgets what the last `peek` returned."""
        await self._on_disk(lambda: self._spool.advance(batch))

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            entries, self._pending = self._pending, []
            self._writing = len(entries)
            kept = await self._write(entries)
            self._writing = 0
            for entry in entries[:kept]:
                entry.settle(True)
            self._drop(entries[kept:])
            self._on_kept()

    async def _write(self, entries: list[Entry]) -> int:
        try:
            return await self._on_disk(lambda: self._spool.append([e.document for e in entries]))
        except OSError as error:
            log.error("spool cannot be written", error=type(error).__name__)  # noqa: TRY400 - the type says it all
            return 0

    async def _on_disk(self, work: Callable[[], T]) -> T:
        """One thread at a time."""
        async with self._disk:
            return await _to_the_end(asyncio.to_thread(work))

    def _drop(self, entries: list[Entry]) -> None:
        for entry in entries:
            log.error("message dropped from the log", message_id=entry.id, why="the spool is full")
            entry.settle(False)
        if entries:
            self._on_drop(len(entries))


async def _to_the_end(work: Awaitable[T]) -> T:
    """Waits for a thread even when cancelled: the files must not be used by two."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def message_id_of(document: bytes) -> str:
    """The id of the message that a document is about."""
    parsed: dict[str, Any] = orjson.loads(document)
    return str(parsed.get("id", ""))
