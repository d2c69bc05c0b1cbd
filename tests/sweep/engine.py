"""An engine that is not in the gateway's database: each call is a step."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from relaypost_server.core.background import Task
from relaypost_server.core.message import Channel
from relaypost_server.core.queue import Lane, Pointer
from relaypost_server.core.queue_ports import QueueUnavailableError, Taken
from tests.sweep.database import Control
from tests.sweep.steps import LASTING, Mode
from tests.sweep.trouble import Trouble

PEER = "engine"
POLL_SECONDS = 0.25
PATIENCE_SECONDS = 10.0
"""After which a real engine's client gives up."""
T = TypeVar("T")


class FakeEngine:
    """A `core.queue_ports.Queue` whose pointers outlive the process, as a broker's do."""

    def __init__(self, control: Control, trouble: Trouble) -> None:
        self._control = control
        self._trouble = trouble
        self._in_hand: set[int] = set()

    async def start(self) -> None: ...

    def tasks(self) -> Sequence[Task]:
        """An engine that only answers has none."""
        return ()

    async def close(self) -> None:
        await self._return(list(self._in_hand))

    async def put(self, pointers: Sequence[Pointer]) -> None:
        await self._step("put", lambda: self._put(pointers))

    async def take(self, lane: Lane, *, most: int, wait: float) -> Sequence[Taken]:
        end = asyncio.get_running_loop().time() + wait
        while not await self._waiting(lane):
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                return []
            await asyncio.sleep(min(POLL_SECONDS, left))
        return await self._step("take", lambda: self._take(lane, most))

    async def done(self, taken: Sequence[Taken]) -> None:
        await self._step("done", lambda: self._forget([one.handle for one in taken]))

    async def give_back(self, taken: Sequence[Taken]) -> None:
        await self._step("give_back", lambda: self._return([one.handle for one in taken]))

    async def _put(self, pointers: Sequence[Pointer]) -> None:
        for pointer in pointers:
            await self._control.execute(
                "INSERT INTO sweep.pointers (lane, channel, message_id, taken) VALUES ($1, $2, $3, false)",
                pointer.lane.value,
                pointer.channel.value,
                pointer.message_id,
            )

    async def _waiting(self, lane: Lane) -> bool:
        sql = "SELECT FROM sweep.pointers WHERE lane = $1 AND NOT taken LIMIT 1"
        return bool(self._trouble.of(PEER) or await self._control.fetch(sql, lane.value))

    async def _take(self, lane: Lane, most: int) -> Sequence[Taken]:
        rows = await self._control.fetch(
            "UPDATE sweep.pointers SET taken = true WHERE number IN"
            " (SELECT number FROM sweep.pointers WHERE lane = $1 AND NOT taken ORDER BY number LIMIT $2) RETURNING *",
            lane.value,
            most,
        )
        self._in_hand |= {row["number"] for row in rows}
        return [Taken(Pointer(row["message_id"], lane, Channel(row["channel"])), row["number"]) for row in rows]

    async def _forget(self, numbers: Sequence[int]) -> None:
        self._in_hand -= set(numbers)
        await self._control.execute("DELETE FROM sweep.pointers WHERE number = ANY($1::bigint[])", list(numbers))

    async def _return(self, numbers: Sequence[int]) -> None:
        self._in_hand -= set(numbers)
        await self._control.execute(
            "UPDATE sweep.pointers SET taken = false WHERE number = ANY($1::bigint[])", list(numbers)
        )

    async def _step(self, name: str, act: Callable[[], Awaitable[T]]) -> T:
        """One call, which may go wrong."""
        trouble = self._trouble.of(PEER)
        mode = trouble or self._trouble.steps.touch(f"{PEER} {name}")
        if mode is Mode.KILL_BEFORE:
            self._trouble.victim.kill()
        if mode is Mode.LOST_BEFORE or trouble is Mode.GONE:
            raise QueueUnavailableError("lost")
        if trouble is None and mode in LASTING and mode is not None:
            self._trouble.begin(PEER if mode in (Mode.GONE, Mode.HANG) else "db", mode)
        if mode is Mode.STOP:
            self._trouble.victim.stop()
        answer = await act()
        match mode:
            case Mode.KILL_AFTER:
                self._trouble.victim.kill()
            case Mode.CANCEL:
                self._trouble.victim.cancel()
                await asyncio.sleep(0)
            case Mode.LOST_AFTER | Mode.GONE:
                await self._lose(name, answer)
            case Mode.HANG:
                await asyncio.sleep(PATIENCE_SECONDS)
                await self._lose(name, answer)
        return answer

    async def _lose(self, name: str, answer: object) -> None:
        """A broker gives pointers whose taker never heard of them to the next one."""
        if name == "take" and isinstance(answer, list):
            await self._return([one.handle for one in answer])
        raise QueueUnavailableError("lost")
