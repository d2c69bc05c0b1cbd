"""A proxy before a real server, which can be cut or held up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.fakes.server import listening


@dataclass
class Proxy:
    """Passes bytes on to `path`, a Unix socket or a port of this machine, while it is `up` and nothing is held."""

    path: str | int
    port: int = 0
    up: bool = True
    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    connections: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Ends every connection, and accepts no other."""
        self.up = False
        for writer in self.connections:
            writer.transport.abort()

    def mend(self) -> None:
        self.up = True

    def hold(self) -> None:
        """Keeps every byte back, in both directions, until `release`."""
        self.flowing.clear()

    def swallow_answers(self) -> None:
        """Keeps back what the server says, until `release`; what it is told still arrives."""
        self.answering.clear()

    def release(self) -> None:
        self.flowing.set()
        self.answering.set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.up:
            writer.transport.abort()
            return
        try:
            upstream_reader, upstream_writer = await self._upstream()
        except OSError:  # The server is stopped.
            writer.transport.abort()
            return
        self.connections |= {writer, upstream_writer}
        try:
            await asyncio.gather(
                self._pump(reader, upstream_writer), self._pump(upstream_reader, writer, self.answering)
            )
        finally:
            self.connections -= {writer, upstream_writer}
            writer.close()
            upstream_writer.close()

    async def _upstream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.path, int):
            return await asyncio.open_connection("127.0.0.1", self.path)
        return await asyncio.open_unix_connection(self.path)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event | None = None
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await self.flowing.wait()
                if gate is not None:
                    await gate.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def proxy(path: str | int) -> AsyncIterator[Proxy]:
    made = Proxy(path)
    made.release()
    async with listening(made.handle, limit=1024 * 1024) as made.port:
        yield made
