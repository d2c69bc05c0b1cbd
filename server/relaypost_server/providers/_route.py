"""The way to a provider: straight, or through a proxy's tunnel (RFC 9110, section 9.3.6).

TLS is between the gateway and the provider: a proxy sees the host's name and bytes that it cannot read.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from relaypost_server.core.proxies import Proxy
from relaypost_server.providers._connecting import Host
from relaypost_server.providers._connection import Connection

LONGEST_ANSWER = 16 * 1024
"""Bytes of a proxy's answer to CONNECT."""
_END = b"\r\n\r\n"


class ProxyError(OSError):
    """The proxy opened no tunnel. The message is in the gateway's own words."""

    def __init__(self, what: str, *, refused: bool = False) -> None:
        """`refused`: by its own rules, or for want of credentials; an operator has to mend that."""
        super().__init__(what)
        self.refused = refused


class Route:
    """Makes connections to one host and port."""

    def __init__(
        self, host: str, port: int, *, tls: Callable[[], ssl.SSLContext] | None, proxy: Proxy | None = None
    ) -> None:
        """`tls`: None for plain HTTP, which goes through no proxy."""
        self._name = host
        self._port = port
        self._tls = tls() if tls else None
        self._proxy = proxy if tls else None
        self._host = Host(self._proxy.host, self._proxy.port) if self._proxy else Host(host, port)

    async def connect(self) -> Connection:
        """A connection that is ready for a request. Raises OSError; ProxyError where the proxy is at fault."""
        if self._proxy is None:
            loop = asyncio.get_running_loop()
            sock = await self._host.connect()
            _, connection = await loop.create_connection(
                Connection, sock=sock, ssl=self._tls, server_hostname=self._name if self._tls else None
            )
            return connection
        return await self._through(self._proxy)

    async def _through(self, proxy: Proxy) -> Connection:
        loop, connection = asyncio.get_running_loop(), Connection()
        tunnel = await self._tunnel(proxy)
        try:
            made = await loop.start_tls(tunnel, connection, cast(ssl.SSLContext, self._tls), server_hostname=self._name)
        except BaseException:
            tunnel.abort()
            raise
        connection.connection_made(cast(asyncio.Transport, made))
        return connection

    async def _tunnel(self, proxy: Proxy) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        try:
            sock = await self._host.connect()
            transport, opening = await loop.create_connection(
                lambda: _Opening(_request(proxy, self._name, self._port)),
                sock=sock,
                ssl=self._tls if proxy.tls else None,
                server_hostname=proxy.host if proxy.tls else None,
            )
        except OSError as error:
            raise ProxyError(f"no connection to the proxy ({type(error).__name__})") from None
        try:
            await opening.opened
        except BaseException:
            transport.abort()
            raise
        return transport


def _request(proxy: Proxy, name: str, port: int) -> bytes:
    authority = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}", "User-Agent: relaypost"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class _Opening(asyncio.Protocol):
    """Asks for a tunnel; `opened` is done once the proxy has agreed, and raises ProxyError where it does not."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._received = b""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(_END)
        if end:
            self._judge(head, rest)
        elif len(self._received) > LONGEST_ANSWER:
            self._fail(ProxyError("the proxy's answer does not end"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(ProxyError("the proxy closed the connection"))

    def _judge(self, head: bytes, rest: bytes) -> None:
        version, _, after = head.partition(b" ")
        status = after[:3]
        if not version.startswith(b"HTTP/1.") or not status.isdigit():
            self._fail(ProxyError("what answers in the proxy's place does not speak HTTP"))
        elif not status.startswith(b"2"):
            self._fail(ProxyError(f"the proxy answered HTTP {status.decode()}", refused=status.startswith(b"4")))
        elif rest:  # The provider says nothing before the gateway does: these bytes are not its own.
            self._fail(ProxyError("the proxy sent more than its answer"))
        elif not self.opened.done():
            self.opened.set_result(None)

    def _fail(self, error: ProxyError) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)
            self.opened.exception()  # The caller may have been cancelled, and never look.
