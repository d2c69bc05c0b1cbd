"""Takes many messages on, with as much memory for a million as for a thousand."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

from relaypost_server.core.message import Email
from relaypost_server.core.ports import LogUnavailableError, ReportsBusyError, ReportTooSlowError
from relaypost_server.core.queue import Batch, BatchProgress, Lane, Queued
from relaypost_server.core.queue_ports import BatchStore, QueueStore
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.ids import new_id
from relaypost_server.flow.requests import RequestReusedError
from relaypost_server.flow.watch import TooManyWatchersError
from relaypost_server.telemetry.metrics import Metrics

METHOD = "SendBulk"
CHUNK = 500
"""Messages in one transaction."""
CHUNK_BYTES = 4 * 1024 * 1024
"""Of attachments in one transaction, whichever comes first."""
WATCH_SECONDS = 1.0
"""Between two looks at a batch that is watched, if a look takes less than a tenth of that."""
LONGEST_WATCH = 24 * 3600.0
MOST_WATCHERS = 100
"""Each look counts the messages of its batch."""


class TooManyStreamsError(Exception):
    """The limit of concurrent streams is reached."""


class Batches:
    """Every batch that there is."""

    def __init__(
        self,
        store: BatchStore,
        queue: QueueStore,
        *,
        on_stored: Callable[[], None],
        metrics: Metrics,
        clock: Clock,
        most_streams: int = 50,
    ) -> None:
        """`on_stored` is called when there is something to send."""
        self.most_streams = most_streams
        self._streams = 0
        self._store = store
        self._queue = queue
        self._on_stored = on_stored
        self._metrics = metrics
        self._clock = clock
        self._watchers = 0

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """Counts a stream for as long as it is read. Raises TooManyStreamsError."""
        if self._streams >= self.most_streams:
            raise TooManyStreamsError
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def open(self, *, caller: str, request_id: str, fingerprint: str, lane: Lane) -> "Intake":
        """A stream into a new batch, or into one that is there. Raises RequestReusedError or LogUnavailableError."""
        batch_id = new_id(self._clock.wall())
        batch = await self._store.open(batch_id, caller=caller, request_id=request_id, fingerprint=fingerprint)
        if batch.fingerprint != fingerprint:
            raise RequestReusedError
        return Intake(batch, self._store, self._queue, lane=lane, on_stored=self._on_stored, metrics=self._metrics)

    async def get(self, caller: str, *, batch_id: str = "", request_id: str = "") -> BatchProgress | None:
        """How far a batch of the caller's is; None where there is none. Raises LogUnavailableError."""
        batch = await self._store.find(caller, batch_id=batch_id, request_id=request_id)
        return None if batch is None else await self._store.progress(batch)

    async def count(self, batch: Batch) -> BatchProgress | None:
        """How far a stored batch is; None where that cannot be counted now: other reports come first."""
        try:
            return await self._store.progress(batch)
        except LogUnavailableError:
            return None

    async def watch(self, caller: str, batch_id: str) -> AsyncGenerator[BatchProgress, None]:
        """The batch, and again whenever it has changed, until nothing of it waits or LONGEST_WATCH is over.

        A look that other reports leave no room for is left out. Raises LogUnavailableError or TooManyWatchersError.
        """
        if self._watchers >= MOST_WATCHERS:
            raise TooManyWatchersError
        self._watchers += 1
        try:
            async for progress in self._changes(caller, batch_id):
                yield progress
        finally:
            self._watchers -= 1

    async def _changes(self, caller: str, batch_id: str) -> AsyncIterator[BatchProgress]:
        shown: BatchProgress | None = None
        end = self._clock.monotonic() + LONGEST_WATCH
        while (began := self._clock.monotonic()) < end:
            try:
                progress = await self.get(caller, batch_id=batch_id)
            except (ReportsBusyError, ReportTooSlowError):
                if shown is None:
                    raise
                progress = shown
            if progress is None:
                return
            if progress != shown:
                shown = progress
                yield progress
            if progress.over:
                return
            pause = max(WATCH_SECONDS, 10 * (self._clock.monotonic() - began))
            await asyncio.sleep(pause)


class Intake:
    """A stream of messages into a batch, stored chunk by chunk. Every method raises LogUnavailableError."""

    def __init__(
        self,
        batch: Batch,
        store: BatchStore,
        queue: QueueStore,
        *,
        lane: Lane,
        on_stored: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        self.batch = batch
        self._store = store
        self._queue = queue
        self._lane = lane
        self._on_stored = on_stored
        self._metrics = metrics
        self._chunk: list[Queued] = []
        self._bytes = 0
        self._position = batch.stored

    def name(self, position: int) -> str:
        """The request_id of the message at a place: a place is stored once, however often it is streamed."""
        return f"{self.batch.id}/{position}"

    async def add(self, queued: Queued, position: int) -> None:
        """Takes a message on; while a full chunk is stored, nothing more is read."""
        self._chunk.append(queued)
        self._position = position
        content = queued.message.content
        self._bytes += sum(len(a.content) for a in content.attachments) if isinstance(content, Email) else 0
        if len(self._chunk) >= CHUNK or self._bytes >= CHUNK_BYTES:
            await self._flush()

    def skip(self, position: int) -> None:
        """Passes a place by whose message was refused."""
        self._position = position

    async def close(self) -> Batch:
        """Stores what is left; the stream came to its end. The batch as it is now."""
        await self._flush()
        return await self._store.advance(self.batch.id, stored=self._position, closed=True)

    async def _flush(self) -> None:
        if self._chunk:
            stored = await self._queue.enqueue(self._chunk)
            self._metrics.enqueued(self._lane, sum(s.new for s in stored))
            for queued, outcome in zip(self._chunk, stored, strict=True):
                if outcome.new:
                    self._metrics.adjusted(queued.message.adjustments)
            self._on_stored()
        self._chunk.clear()
        self._bytes = 0
        await self._store.advance(self.batch.id, stored=self._position, closed=False)
