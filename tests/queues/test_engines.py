"""How every engine behaves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from relaypost_server.core.message import Channel
from relaypost_server.core.queue import Lane, Pointer
from relaypost_server.core.queue_ports import Queue, QueueUnavailableError, Taken
from tests.queues.engines import PATIENCE, Engine

LONG = 30.0
"""Seconds that are enough for whatever comes."""
SHORT = 0.2
"""Seconds in which what is there would come."""


def pointers(count: int, lane: Lane = Lane.BULK) -> list[Pointer]:
    return [Pointer(str(uuid4()), lane, Channel.EMAIL) for _ in range(count)]


@asynccontextmanager
async def holder(engine: Engine, patience: float = PATIENCE) -> AsyncIterator[Queue]:
    queue = await engine.holder(patience)
    try:
        yield queue
    finally:
        await queue.close()


async def take(queue: Queue, count: int, lane: Lane = Lane.BULK) -> list[Taken]:
    """So many, by however many calls."""
    taken: list[Taken] = []
    async with asyncio.timeout(LONG):
        while len(taken) < count:
            taken += await queue.take(lane, most=count - len(taken), wait=LONG)
    return taken


async def empty(queue: Queue, lane: Lane = Lane.BULK) -> bool:
    return not await queue.take(lane, most=10, wait=SHORT)


def carried(taken: Sequence[Taken]) -> list[Pointer]:
    return [one.pointer for one in taken]


async def persistently_put(queue: Queue, given: Sequence[Pointer]) -> None:
    """As the relay does, until the engine can be reached."""
    async with asyncio.timeout(LONG):
        while True:
            with contextlib.suppress(QueueUnavailableError):
                return await queue.put(given)
            await asyncio.sleep(0.1)


async def test_pointers_arrive_on_their_lane_and_are_forgotten_when_done(engine: Engine) -> None:
    given = {lane: [*pointers(3, lane), Pointer(str(uuid4()), lane, Channel.SMS)] for lane in Lane}
    async with holder(engine) as queue:
        await queue.put([p for lane in given.values() for p in lane])
        for lane, expected in given.items():
            taken = await take(queue, 4, lane)
            assert set(carried(taken)) == set(expected)
            await queue.done(taken)
        assert all(await asyncio.gather(*(empty(queue, lane) for lane in Lane)))
    async with holder(engine) as another:
        assert await empty(another)


async def test_no_more_come_than_were_asked_for(engine: Engine) -> None:
    given = pointers(6)
    async with holder(engine) as one, holder(engine) as other:
        await one.put(given)
        mine = await one.take(Lane.BULK, most=2, wait=LONG)
        assert len(mine) <= 2
        theirs = await take(other, 6 - len(mine))
        assert {*carried(mine), *carried(theirs)} == set(given)


async def test_a_taker_waits_for_the_first_one_and_no_longer_than_it_said(engine: Engine) -> None:
    async with holder(engine) as queue:
        now = asyncio.get_running_loop().time
        began = now()
        assert await queue.take(Lane.OTP, most=5, wait=0.7) == []
        assert 0.6 < now() - began < 5.0
        waiting = asyncio.create_task(queue.take(Lane.OTP, most=5, wait=LONG))
        await asyncio.sleep(SHORT)
        assert not waiting.done()
        given = pointers(1, Lane.OTP)
        await queue.put(given)
        began = now()
        assert carried(await waiting) == given
        assert now() - began < 5.0


async def test_who_comes_first_is_served_first_more_or_less(engine: Engine) -> None:
    given = pointers(100)
    async with holder(engine) as queue:
        await queue.put(given[:50])
        await queue.put(given[50:])
        places: dict[Pointer, int] = {}
        while len(places) < 100:  # An engine may bring one twice, where taking all took longer than its patience.
            for pointer in carried(await take(queue, 100 - len(places))):
                places.setdefault(pointer, len(places))
    assert sum(abs(places[p] - at) for at, p in enumerate(given)) / 100 < 20  # By chance it would be 33.


async def test_what_is_given_back_comes_at_once(engine: Engine) -> None:
    given = pointers(2)
    async with holder(engine) as queue:
        await queue.put(given)
        first, second = await take(queue, 2)
        await queue.give_back([first])
        again = await take(queue, 1)
        assert carried(again) == [first.pointer]
        await queue.done([second, *again])
        assert await empty(queue)


async def test_a_holder_keeps_its_pointers_while_it_lives_and_loses_them_when_it_dies(engine: Engine) -> None:
    given = pointers(3)
    async with holder(engine) as other:
        dying = await engine.holder()
        await engine.garbage(Lane.BULK, "garbage")  # Which is gone for good.
        await dying.put(given)
        over, *held = await take(dying, 3)
        await dying.done([over])
        await asyncio.sleep(1.2 * engine.silence)
        assert await empty(other)
        await engine.kill(dying)
        assert set(carried(await take(other, 2))) == set(carried(held))
        assert await empty(other)
        await dying.close()


async def test_a_holder_that_ends_in_peace_leaves_its_pointers_to_others_at_once(engine: Engine) -> None:
    engine.silence = 2 * LONG
    given = pointers(3)
    async with holder(engine) as other:
        async with holder(engine) as leaving:
            await leaving.put(given)
            await take(leaving, 2)
        assert set(carried(await take(other, 3))) == set(given)


async def test_a_taker_that_goes_away_takes_nothing_with_it(engine: Engine) -> None:
    async with holder(engine) as queue:
        leaving = asyncio.create_task(queue.take(Lane.BULK, most=5, wait=LONG))
        await asyncio.sleep(SHORT)
        leaving.cancel()
        given = pointers(5)
        await queue.put(given)
        await asyncio.gather(leaving, return_exceptions=True)
        assert set(carried(await take(queue, 5))) == set(given)


async def test_none_is_lost_between_two_takers(engine: Engine) -> None:
    given = pointers(engine.many)
    found: set[Pointer] = set()

    async def work(queue: Queue) -> None:
        while len(found) < len(given):
            taken = await queue.take(Lane.BULK, most=100, wait=SHORT)
            found.update(carried(taken))
            await asyncio.gather(*(queue.done([one]) for one in taken))

    async with holder(engine) as one, holder(engine) as other:
        for at in range(0, len(given), 1000):
            await one.put(given[at : at + 1000])
        async with asyncio.timeout(60):
            await asyncio.gather(work(one), work(other))
    assert found == set(given)


async def test_what_is_no_pointer_is_thrown_away_and_not_told(engine: Engine) -> None:
    garbage = [" ", "secret", "email no-id", "email 'a' OR 1=1", f"pigeon {uuid4()}"]
    given = pointers(1)
    async with holder(engine) as queue:
        with capture_logs() as logs:
            for text in garbage:
                await engine.garbage(Lane.BULK, text)
            await queue.put(given)
            assert carried(await take(queue, 1)) == given
            assert await empty(queue)
        told = [entry["event"] for entry in logs if entry["log_level"] == "error"]
        assert told == ["unreadable pointer thrown away"] * len(garbage)
        assert "secret" not in str(logs)


async def test_an_engine_that_is_away_says_so_and_goes_on_when_it_is_back(engine: Engine) -> None:
    early, late = pointers(2), pointers(2)
    async with holder(engine) as queue:
        await queue.put(early)
        held = await take(queue, 1)
        for way in engine.ways:
            way.cut()
        async with asyncio.timeout(LONG):
            with pytest.raises(QueueUnavailableError):
                await queue.put(late)
            with pytest.raises(QueueUnavailableError):
                await queue.take(Lane.BULK, most=5, wait=0.1)
            with contextlib.suppress(QueueUnavailableError):
                await queue.done(held)
            with contextlib.suppress(QueueUnavailableError):
                await queue.give_back(held)
        for way in engine.ways:
            way.mend()
        await persistently_put(queue, late)
        found: set[Pointer] = set()
        async with asyncio.timeout(LONG):
            while found != {*early, *late}:
                found.update(carried(await queue.take(Lane.BULK, most=5, wait=SHORT)))


async def test_what_could_not_be_forgotten_comes_again_while_its_holder_lives(engine: Engine) -> None:
    given = pointers(1)
    async with holder(engine) as queue:
        await queue.put(given)
        held = await take(queue, 1)
        for way in engine.ways:
            way.cut()
        with contextlib.suppress(QueueUnavailableError):  # RabbitMQ's client does not wait for an answer.
            await queue.done(held)
        for way in engine.ways:
            way.mend()
        found: Sequence[Taken] = []
        async with asyncio.timeout(LONG):
            while not found:
                with contextlib.suppress(QueueUnavailableError):
                    found = await queue.take(Lane.BULK, most=1, wait=SHORT)
        assert carried(found) == given


async def test_an_engine_that_is_away_keeps_nobody_from_starting(engine: Engine) -> None:
    async with holder(engine):
        for way in engine.ways:
            way.cut()
        async with asyncio.timeout(LONG), holder(engine) as late:
            with pytest.raises(QueueUnavailableError):
                await late.put(pointers(1))
            for way in engine.ways:
                way.mend()
            given = pointers(1)
            await persistently_put(late, given)
            assert given[0] in carried(await take(late, 1))


async def test_an_engine_that_hangs_is_not_waited_for(engine: Engine) -> None:
    async with holder(engine, patience=0.8) as queue:
        await queue.put(pointers(1))
        for way in engine.ways:
            way.hold()
        async with asyncio.timeout(LONG):
            with pytest.raises(QueueUnavailableError):
                await queue.put(pointers(1))
        for way in engine.ways:
            way.release()
        await persistently_put(queue, pointers(1))
        assert len({*carried(await take(queue, 2))}) == 2


async def test_gateways_may_start_at_the_same_time(engine: Engine) -> None:
    async with holder(engine) as one, holder(engine) as other:
        await asyncio.gather(one.put(pointers(1)), other.put(pointers(1)))
        assert len(await take(other, 2)) == 2
