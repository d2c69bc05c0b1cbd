"""Redis publish and subscribe, with a time limit on everything."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from relaypost_server.core.advice import BusUnavailableError

TIMEOUT = 2.0
"""Seconds for connecting, logging in, and each answer."""
SILENCE = 10.0
"""Seconds without a message after which a connection has to prove that it lives."""


class RedisBus:
    """One channel of one Redis: a connection to publish, made when it is first needed, and one to listen."""

    def __init__(self, url: str, *, prefix: str) -> None:
        """Connects to nothing yet. Raises ValueError where the URL is none."""
        self._channel = f"{prefix}advice"
        # Retried once: a connection that was idle may have been closed, as it is when Redis is restarted.
        self._redis: Redis = Redis.from_url(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 1),
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
        )

    async def publish(self, message: bytes) -> None:
        with _told_apart():
            async with asyncio.timeout(TIMEOUT):
                await self._redis.publish(self._channel, message)

    async def ping(self) -> None:
        """Whether there is anybody. Raises BusUnavailableError."""
        with _told_apart():
            async with asyncio.timeout(TIMEOUT):
                await self._redis.ping()

    async def listen(self, connected: Callable[[], None], hear: Callable[[bytes], None]) -> None:
        async with self._subscription() as subscription:
            proven = True
            while True:
                with _told_apart():
                    async with asyncio.timeout(SILENCE + TIMEOUT):
                        message = await subscription.get_message(timeout=SILENCE)
                    if message is None:
                        if not proven:
                            raise TimeoutError
                        async with asyncio.timeout(TIMEOUT):
                            await subscription.ping()
                proven = message is not None
                if message is not None and message["type"] == "subscribe":
                    connected()
                elif message is not None and message["type"] == "message":
                    hear(message["data"])

    async def close(self) -> None:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(TIMEOUT):
                await self._redis.aclose()

    @asynccontextmanager
    async def _subscription(self) -> AsyncIterator[PubSub]:
        """Of a connection of its own, which is not used again once anything went wrong."""
        subscription = self._redis.pubsub()
        try:
            with _told_apart():
                async with asyncio.timeout(TIMEOUT):
                    await subscription.subscribe(self._channel)
            yield subscription
        finally:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(TIMEOUT):
                    await subscription.aclose()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _told_apart() -> Iterator[None]:
    """What can go wrong with a server, by its kind alone: texts may hold what must not be logged."""
    try:
        yield
    except (RedisError, OSError, TimeoutError, EOFError) as error:
        raise BusUnavailableError(type(error).__name__) from None
