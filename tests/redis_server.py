"""A Redis of the tests' own, which they may stop, kill and start again."""

import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.peers import free_port


@dataclass
class RedisServer:
    """`redis-server` as a process, on one port throughout."""

    program: str
    port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"),
            *("--dir", tempfile.gettempdir()),
            stdout=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(10):
            while not await self.answers():
                await asyncio.sleep(0.02)

    async def answers(self) -> bool:
        async with Redis.from_url(self.url) as client:
            with contextlib.suppress(RedisError, OSError):
                return bool(await client.ping())
        return False

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def publish(self, channel: str, *messages: bytes) -> None:
        async with Redis.from_url(self.url) as client:
            for message in messages:
                await client.publish(channel, message)

    async def until_heard(self, channel: str, listeners: int) -> None:
        """Waits until so many gateways listen."""
        async with Redis.from_url(self.url) as client, asyncio.timeout(20):
            while dict(await client.pubsub_numsub(channel))[channel.encode()] != listeners:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def redis_server() -> AsyncIterator[RedisServer]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed, and these tests stop and kill it")
    server = RedisServer(program)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
