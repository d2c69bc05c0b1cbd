"""Keeps workers to the pace that a provider allows, over all replicas."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Mapping

from relaypost_server.core.pace import Pace, wait
from relaypost_server.core.queue_ports import QueueStore

AHEAD_SECONDS = 0.25
"""How much of a provider's rate a worker takes at once: one round trip for many messages."""


class Pacer:
    """The shared buckets, and what this process has taken out of them."""

    def __init__(self, store: QueueStore, paces: Mapping[str, Pace]) -> None:
        """`paces`: by provider; others may be sent to at any pace."""
        self._store = store
        self._paces = paces
        self._tokens: dict[str, int] = defaultdict(int)
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def turn(self, provider: str, *, urgent: bool = False) -> None:
        """Waits until a message may be sent through the provider. What is urgent never waits: others do, for it.

        Raises LogUnavailableError.
        """
        pace = self._paces.get(provider)
        if pace is None:
            return
        if urgent:
            self._tokens[provider] -= 1
            return
        async with self._locks[provider]:  # In the order of their coming.
            while self._tokens[provider] < 1:
                self._tokens[provider] += await self._fetch(provider, pace)
            self._tokens[provider] -= 1

    async def _fetch(self, provider: str, pace: Pace) -> int:
        grant = await self._store.take(provider, pace, max(1, math.ceil(pace.rate * AHEAD_SECONDS)))
        if not grant.granted:
            await asyncio.sleep(wait(pace, grant.left))
        return grant.granted
