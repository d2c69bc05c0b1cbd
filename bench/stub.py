"""A provider that answers at once: SES's SendEmail over bare HTTP/1.1.

Run as `python -m bench.stub`; prints its port. It counts what it fully
received, and answers GET /count with that number.
"""

import asyncio
import sys
from typing import cast

import uvloop

_OK = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 24\r\n\r\n{"MessageId":"0100-000"}'
_BUSY_BODY = b'{"__type":"ServiceUnavailableException","message":"down"}'
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(_BUSY_BODY),
    _BUSY_BODY,
)


class Stub(asyncio.Protocol):
    """One connection."""

    received = 0
    answer = _OK

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            size = end + 4 + _content_length(head)
            if len(self._buffer) < size:
                return
            self._buffer = self._buffer[size:]
            self._transport.write(self._reply(head))

    def _reply(self, head: bytes) -> bytes:
        if head.startswith(b"GET /count"):
            body = str(Stub.received).encode()
            return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        Stub.received += 1
        return Stub.answer


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if "503" in sys.argv:
        Stub.answer = _BUSY
    uvloop.run(_serve())
