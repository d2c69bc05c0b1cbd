"""A proxy before PostgreSQL, on which a connection breaks at its COMMIT."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

from tests.fakes.server import listening

COMMIT = b"COMMIT"


class Fate(Enum):
    """What becomes of the COMMIT."""

    LOST = auto()
    """It does not arrive, and the server ends the transaction."""
    UNANSWERED = auto()
    """It arrives, and the server's answer does not."""
    LATE = auto()
    """It arrives once the proxy is told to `deliver`. Until then the server does not see that the client is gone."""


@dataclass
class LastWords:
    """Passes bytes on to `path`, a Unix socket, while it is `up`."""

    path: str
    port: int = 0
    up: bool = True
    fate: Fate | None = None
    """Of the next connection that says COMMIT."""
    stays_up: bool = True
    """Whether connections are accepted after that."""
    delivered: asyncio.Event = field(default_factory=asyncio.Event)

    def deliver(self) -> None:
        self.delivered.set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.up:
            writer.transport.abort()
            return
        server_reader, server_writer = await asyncio.open_unix_connection(self.path)
        answers = asyncio.create_task(_pass_on(server_reader, writer))
        try:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(65536):
                    if self.fate is not None and COMMIT in data:
                        answers.cancel()
                        await asyncio.wait([answers])
                        await self._break(data, writer, server_reader, server_writer)
                        return
                    server_writer.write(data)
                    await server_writer.drain()
        finally:
            answers.cancel()
            server_writer.close()
            writer.transport.abort()

    async def _break(
        self,
        data: bytes,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        fate, self.fate, self.up = self.fate, None, self.stays_up
        if fate is Fate.LATE:
            writer.transport.abort()
            await self.delivered.wait()
        if fate is not Fate.LOST:
            server_writer.write(data)
            await server_reader.read(65536)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def last_words(path: str) -> AsyncIterator[LastWords]:
    made = LastWords(path)
    async with listening(made.handle, limit=1024 * 1024) as made.port:
        yield made
