"""A limit that is started often and reached hardly ever."""

import asyncio
import gc
import weakref

from relaypost_server.time_limit import TimeLimit

SHORT = 0.03
LONG = 10.0
"""Seconds."""


class Watched:
    """Counts how often a limit was reached."""

    def __init__(self) -> None:
        self.reached = 0
        self.over = asyncio.Event()
        self.limit = TimeLimit(self._over)

    def _over(self) -> None:
        self.reached += 1
        self.over.set()

    async def until_over(self) -> None:
        await asyncio.wait_for(self.over.wait(), LONG)


async def test_calls_back_once_when_the_time_is_over() -> None:
    watched = Watched()
    began = asyncio.get_running_loop().time()
    watched.limit.start(SHORT)
    await watched.until_over()
    assert asyncio.get_running_loop().time() >= began + SHORT
    await asyncio.sleep(3 * SHORT)
    assert watched.reached == 1


async def test_what_ends_in_time_is_not_called_back() -> None:
    watched = Watched()
    watched.limit.start(SHORT)
    watched.limit.stop()
    await asyncio.sleep(3 * SHORT)
    assert watched.reached == 0


async def test_a_timer_of_an_earlier_start_does_not_shorten_a_later_one() -> None:
    watched = Watched()
    watched.limit.start(SHORT)
    watched.limit.stop()
    watched.limit.start(LONG)
    await asyncio.sleep(3 * SHORT)
    assert watched.reached == 0
    watched.limit.close()


async def test_a_timer_that_goes_off_early_is_set_again() -> None:
    watched = Watched()
    watched.limit.start(1.5)
    await asyncio.sleep(SHORT)
    began = asyncio.get_running_loop().time()
    watched.limit.start(1.8)
    await watched.until_over()
    assert asyncio.get_running_loop().time() >= began + 1.8


async def test_a_timer_of_an_earlier_start_does_not_lengthen_a_later_one() -> None:
    watched = Watched()
    watched.limit.start(2 * LONG)
    watched.limit.stop()
    watched.limit.start(SHORT)
    await watched.until_over()


async def test_a_closed_limit_calls_nobody_and_holds_nobody() -> None:
    watched = Watched()
    watched.limit.start(SHORT)
    watched.limit.close()
    await asyncio.sleep(3 * SHORT)
    assert watched.reached == 0
    watched.limit.start(LONG)
    watched.limit.close()
    gone = weakref.ref(watched)
    del watched
    gc.collect()
    assert gone() is None
