"""The event loop of a gateway: uvloop, which looks up names as `names` does.

uvloop has names looked up by libuv, in four threads that everything shares: four look-ups that hang, of the database's
name for example, keep every provider from being connected. The methods overridden here are those by which all
libraries look up names and connect to hosts: asyncpg, aio-pika, redis, aiohttp, and our own.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import uvloop
from aiohappyeyeballs import start_connection

from relaypost_server.names import NameResolver

MOST = 64
"""Look-ups at once. Their names stand in the settings, so there are fewer."""
LOOK_UP_SECONDS = 2.0
"""How long connecting waits for a name. Less than any library's time-out: of several hosts the next one gets a turn."""
SECOND_ADDRESS_SECONDS = 0.25
"""How long the first address of a host may take before the next is tried as well (RFC 8305)."""


class Loop(uvloop.Loop):
    """To be given to `uvloop.run` as `loop_factory`."""

    def __init__(self) -> None:
        super().__init__()
        self._names = NameResolver(_look_up, purpose="hosts", most=MOST)

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - asyncio calls it so.
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        found = _numeric(host, port, family, type, proto, flags)
        return found or await self._names.find(host, port, family, type, proto, flags)

    async def create_connection(
        self,
        protocol_factory: Callable[[], Any],
        host: Any = None,
        port: Any = None,
        *,
        sock: socket.socket | None = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        local_addr: Any = None,
        ssl: Any = None,
        server_hostname: str | None = None,
        **options: Any,
    ) -> tuple[Any, Any]:
        """As uvloop's own. The certificate is checked for the host's name, not for the address that was found."""
        if host and sock is None and local_addr is None:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                found = await self.getaddrinfo(
                    host, port, family=family, type=socket.SOCK_STREAM, proto=proto, flags=flags
                )
            sock = await start_connection(found, happy_eyeballs_delay=SECOND_ADDRESS_SECONDS)
            if ssl and server_hostname is None:
                server_hostname = host
            host, port, family, proto, flags = None, None, 0, 0, 0
        given = {"family": family, "proto": proto, "flags": flags, "local_addr": local_addr}
        return await super().create_connection(
            protocol_factory, host, port, sock=sock, ssl=ssl, server_hostname=server_hostname, **given, **options
        )


def _look_up(host: Any, port: Any, family: int, kind: int, proto: int, flags: int) -> list[Any]:
    return socket.getaddrinfo(host, port, family, kind, proto, flags)


def _numeric(host: Any, port: Any, family: int, kind: int, proto: int, flags: int) -> list[Any]:
    """An address needs no look-up, and no thread; empty for a name."""
    try:
        return socket.getaddrinfo(
            host, port, family, kind, proto, flags | socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        )
    except (OSError, UnicodeError):
        return []
