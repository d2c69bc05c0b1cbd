"""A proxy that opens tunnels by CONNECT, as it is told."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.fakes.server import listening

OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@dataclass
class ConnectProxy:
    """Whatever host is asked for, it connects to `upstream` on this machine; `answer` may be changed at any time."""

    upstream: int = 0
    answer: bytes = OPENED
    hangs: bool = False
    """It reads the request and says nothing."""
    asked: list[str] = field(default_factory=list)
    """The host and port of each CONNECT."""
    authorizations: list[str] = field(default_factory=list)
    """What came in Proxy-Authorization; "" where there was none."""
    carried: list[bytes] = field(default_factory=list)
    """What clients sent through tunnels."""
    port: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, authority, _ = head.split(" ", 2)
            assert method == "CONNECT"
            self.asked.append(authority)
            found = [line.split(": ", 1)[1] for line in head.split("\r\n") if line.lower().startswith("proxy-auth")]
            self.authorizations.append("".join(found))
            if self.hangs:
                await reader.read()
                return
            writer.write(self.answer)
            await writer.drain()
            if self.answer.startswith(OPENED):
                await self._pipe(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            await asyncio.gather(
                self._pump(reader, upstream_writer, self.carried), self._pump(upstream_reader, writer, [])
            )
        finally:
            upstream_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: list[bytes]) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                seen.append(data)
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def connect_proxy(upstream: int = 0, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[ConnectProxy]:
    made = ConnectProxy(upstream)
    async with listening(made.handle, limit=1024 * 1024, tls=tls) as made.port:
        yield made
