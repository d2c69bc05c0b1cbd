"""A fair semaphore with a time-out: places are granted in the order of the requests."""

import asyncio
from collections import OrderedDict


class Places:
    """At most `count` at once. A place that becomes free goes to the caller who waits longest, never to a newcomer."""

    __slots__ = ("_free", "_waiting")

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    def take(self) -> bool:
        """Takes a place if one is free now. While callers wait, none is: it is handed to them."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def wait(self, seconds: float) -> bool:
        """Takes a place within so many seconds; False where none became free."""
        if self.take():
            return True
        place = asyncio.get_running_loop().create_future()
        self._waiting[place] = None
        try:
            await asyncio.wait((place,), timeout=max(0.0, seconds))
        except asyncio.CancelledError:
            if place.done():
                self.give_back()
            raise
        finally:
            self._waiting.pop(place, None)
        return place.done()

    def give_back(self) -> None:
        """Hands a place to the caller who waits longest, if there is one."""
        if self._waiting:
            self._waiting.popitem(last=False)[0].set_result(None)
        else:
            self._free += 1
