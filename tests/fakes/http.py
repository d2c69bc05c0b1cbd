"""An HTTP server that answers as it is told, byte by byte."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from tests.fakes.server import listening
from tests.peers import free_port


@dataclass(frozen=True)
class Request:
    """A request whose last byte has arrived."""

    line: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """Bytes to write, at once or one at a time, and what becomes of the connection."""

    data: bytes = b""
    then: str = "keep"
    """"keep", "close", "reset" or "hang"."""
    pause: float = 0.0
    """Seconds between two bytes; 0 writes them at once."""
    delay: float = 0.0
    """Seconds before the first byte."""

    @property
    def refuses(self) -> bool:
        """Whether it says that the request was not carried out; without an answer nobody knows."""
        return self.data.startswith((b"HTTP/1.1 4", b"HTTP/1.1 503"))


def answer(status: int, body: bytes = b"", **headers: str) -> Reply:
    """A whole answer; an underscore in a header's name stands for a hyphen."""
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{''.join(lines)}\r\n"
    return Reply(head.encode() + body)


HANG = Reply(then="hang")
RESET = Reply(then="reset")
CLOSE = Reply(then="close")


@dataclass
class FakeHttp:
    """One server. `reply` may be changed at any time."""

    reply: Callable[[Request], Reply]
    received: list[Request] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    """What each request was answered with."""
    connections: int = 0
    ended: int = 0
    """Connections that are over: everything that was sent on them has been read."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def always(self, reply: Reply) -> Self:
        self.reply = lambda _: reply
        return self

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while request := await _read(reader):
                self.received.append(request)
                reply = self.reply(request)
                self.replies.append(reply)
                await _write(writer, reply)
                if reply.then == "hang":
                    await reader.read()
                elif reply.then == "reset":
                    _reset(writer)
                if reply.then != "keep":
                    return
        except ConnectionError:
            pass
        finally:
            self.ended += 1
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.strip().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (text.partition(":") for text in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    except asyncio.IncompleteReadError:
        return None
    return Request(line, headers, body)


async def _write(writer: asyncio.StreamWriter, reply: Reply) -> None:
    await asyncio.sleep(reply.delay)
    if not reply.pause:
        writer.write(reply.data)
        await writer.drain()
        return
    for byte in reply.data:
        if writer.is_closing():
            raise ConnectionResetError
        writer.write(bytes([byte]))
        await asyncio.sleep(reply.pause)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Has the kernel send RST instead of FIN."""
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def fake_http(
    reply: Reply = HANG, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[FakeHttp]:
    fake = FakeHttp(lambda _: reply)
    async with listening(fake.handle, limit=64 * 1024 * 1024, tls=tls, host=host) as fake.port:
        yield fake


def closed_port() -> int:
    """A port of this machine on which nothing listens, now and for as long as the test runs."""
    return free_port()
