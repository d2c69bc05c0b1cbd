"""Follows messages as they change, by asking the log for all of them at once."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence

from relaypost_server.core.background import Task
from relaypost_server.core.delivery import FINAL_STATES
from relaypost_server.core.ports import MessageLog
from relaypost_server.core.record import MessageRecord
from relaypost_server.flow.background import Background

POLL_SECONDS = 0.5
"""Between two looks at the log. One look serves every watcher of this process."""
LONGEST_WATCH = 3600.0
"""Seconds, for callers without a deadline."""
MOST_WATCHERS = 500
"""Each takes up one of the calls that the server has room for: sending must not run out of them."""


class TooManyWatchersError(Exception):
    """So many messages are watched that no other one can be."""


class Watcher(Background):
    """Every message that is watched in this process."""

    def __init__(self, message_log: MessageLog) -> None:
        self._log = message_log
        self._waiting: dict[str, set[asyncio.Future[object]]] = defaultdict(set)
        """Of each message the streams that wait for its next version."""
        self.watchers = 0
        """Streams that are open."""
        self._stopped = asyncio.Event()
        self._work = asyncio.Event()

    async def stop(self) -> None:
        """Ends every stream."""
        self._stopped.set()
        for futures in self._waiting.values():
            for future in futures:
                future.cancel()
        await super().stop()

    async def watch(self, message_id: str) -> AsyncIterator[MessageRecord]:
        """The message, and again whenever it has changed, until a final state, LONGEST_WATCH or `stop`.

        Ends at once where there is no such message. Raises LogUnavailableError or TooManyWatchersError.
        """
        if self.watchers >= MOST_WATCHERS:
            raise TooManyWatchersError
        end = asyncio.get_running_loop().time() + LONGEST_WATCH
        self.watchers += 1
        try:
            async for record in self._changes(message_id, end):
                yield record
        finally:
            self.watchers -= 1

    async def _changes(self, message_id: str, end: float) -> AsyncIterator[MessageRecord]:
        shown: MessageRecord | None = None
        version: object = None
        while not self._over(end):
            # The version is older than the record: a change in between is looked at once more.
            record = await self._log.get(message_id)
            if record is None:
                return
            if record != shown:
                shown = record
                yield record
            if record.state in FINAL_STATES:
                return
            version = await self._other_version(message_id, version, end)

    def _over(self, end: float) -> bool:
        return self._stopped.is_set() or asyncio.get_running_loop().time() >= end

    async def _other_version(self, message_id: str, known: object, end: float) -> object:
        """Waits for a version of the message that is not the known one, or for the end."""
        loop = asyncio.get_running_loop()
        while not self._over(end):
            future: asyncio.Future[object] = loop.create_future()
            self._waiting[message_id].add(future)
            self._work.set()
            try:
                await asyncio.wait([future], timeout=end - loop.time())
            finally:
                self._forget(message_id, future)
            if future.done() and not future.cancelled() and future.result() != known:
                return future.result()
        return known

    def _forget(self, message_id: str, future: asyncio.Future[object]) -> None:
        futures = self._waiting[message_id]
        futures.discard(future)
        if not futures:
            del self._waiting[message_id]

    def tasks(self) -> Sequence[Task]:
        return [Task(name="message_watch", round=self._round, pause=POLL_SECONDS)]

    async def _round(self) -> None:
        """One look; the streams go on waiting where it fails."""
        await self._work.wait()
        versions = await self._log.versions(list(self._waiting))
        for message_id, version in versions.items():
            for future in self._waiting.get(message_id, ()):
                if not future.done():
                    future.set_result(version)
        if not self._waiting:
            self._work.clear()
