"""One look for all lanes that wait for something in the database."""

import asyncio
from collections.abc import Collection

import pytest

from relaypost_server.core.queue import Lane
from relaypost_server.core.queue_ports import QueueUnavailableError
from relaypost_server.queues import _pg_lookout
from relaypost_server.queues._pg_lookout import Lookout

LONG = 10.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pg_lookout, "POLL_SECONDS", 0.01)


class Lanes:
    """What a look finds, and which lanes it was made for."""

    def __init__(self) -> None:
        self.filled: set[str] = set()
        self.asked: list[tuple[str, ...]] = []
        self.looked = asyncio.Event()
        self.away = False

    async def look(self, lanes: Collection[str]) -> Collection[str]:
        self.asked.append(tuple(lanes))
        self.looked.set()
        if self.away:
            raise QueueUnavailableError("ConnectionDoesNotExistError")
        return self.filled & set(lanes)


async def test_one_look_serves_all_who_wait() -> None:
    lanes = Lanes()
    lookout = Lookout(lanes.look)
    waits = [asyncio.create_task(lookout.wait(lane, LONG)) for lane in (*Lane, Lane.BULK)]
    await lanes.looked.wait()
    assert set(lanes.asked) == {tuple(sorted(Lane))}
    lanes.filled = set(Lane)
    assert await asyncio.gather(*waits) == [True] * 4


async def test_only_those_are_told_whose_lane_holds_something() -> None:
    lanes = Lanes()
    lookout = Lookout(lanes.look)
    lanes.filled = {Lane.OTP}
    told, not_told = await asyncio.gather(lookout.wait(Lane.OTP, LONG), lookout.wait(Lane.BULK, 0.05))
    assert told
    assert not not_told


async def test_while_nobody_waits_there_is_no_look() -> None:
    lanes = Lanes()
    lookout = Lookout(lanes.look)
    assert not await lookout.wait(Lane.BULK, 0.05)
    looks = len(lanes.asked)
    await asyncio.sleep(0.1)
    assert len(lanes.asked) == looks
    lanes.filled = {Lane.BULK}
    assert await lookout.wait(Lane.BULK, LONG)


async def test_a_database_that_is_away_is_told_to_all_who_wait() -> None:
    lanes = Lanes()
    lookout = Lookout(lanes.look)
    lanes.away = True
    waits = [asyncio.create_task(lookout.wait(lane, LONG)) for lane in Lane]
    for wait in waits:
        with pytest.raises(QueueUnavailableError):
            await wait
    lanes.away, lanes.filled = False, {Lane.OTP}
    assert await lookout.wait(Lane.OTP, LONG)


async def test_who_stops_waiting_holds_nobody_up() -> None:
    lanes = Lanes()
    lookout = Lookout(lanes.look)
    gone = asyncio.create_task(lookout.wait(Lane.BULK, LONG))
    other = asyncio.create_task(lookout.wait(Lane.OTP, LONG))
    await lanes.looked.wait()
    gone.cancel()
    lanes.filled = set(Lane)
    assert await other
    with pytest.raises(asyncio.CancelledError):
        await gone
