"""Opens TCP connections to one host, whose name everybody looks up together."""

import asyncio
import socket
from typing import Any, Final

from aiohappyeyeballs import start_connection

SECOND_ADDRESS_SECONDS: Final = 0.25
"""How long the first address of a host may take before the next is tried as well (RFC 8305)."""


class Host:
    """A host and a port.

    A look-up that hangs takes up a thread, however many connections wait for
    it; `event_loop` gives each name one of its own.
    """

    def __init__(self, name: str, port: int) -> None:
        self._name = name
        self._port = port
        self._lookup: asyncio.Future[list[Any]] | None = None

    async def connect(self) -> socket.socket:
        """A connected socket. Raises OSError."""
        return await start_connection(await self._addresses(), happy_eyeballs_delay=SECOND_ADDRESS_SECONDS)

    async def _addresses(self) -> list[Any]:
        if self._lookup is None:
            loop = asyncio.get_running_loop()
            self._lookup = asyncio.ensure_future(loop.getaddrinfo(self._name, self._port, type=socket.SOCK_STREAM))
            self._lookup.add_done_callback(self._looked_up)
        return await asyncio.shield(self._lookup)

    def _looked_up(self, lookup: "asyncio.Future[list[Any]]") -> None:
        self._lookup = None
        lookup.exception()  # Whoever still waits gets it; nobody may be left to.
