"""Bounds the connections of the HTTP side, ahead of aiohttp.

A connection on which no request is at work is idle: it is closed after a few
seconds, and sooner if a new connection needs its place. So connections that send
nothing, or a header line now and then, do not block others.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler

from relaypost_server.telemetry.metrics import Metrics
from relaypost_server.web.peers import Peers, key

SWEEP_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """How many connections there may be, and how long one may be idle."""

    most: int = 500
    per_peer: int = 100
    """Of one address; proxies that are trusted have no such limit."""
    first_seconds: float = 5.0
    """Until the headers of the first request have arrived."""
    kept_seconds: float = 30.0
    """From one request to the headers of the next."""


class Connection(asyncio.Protocol):
    """One connection; passes everything on to aiohttp's own protocol."""

    def __init__(self, handler: asyncio.Protocol, table: "Connections") -> None:
        self._handler = handler
        self._table = table
        self._admitted = False
        self.transport: asyncio.Transport | None = None
        self.peer = ""
        self.proxy = False
        self.idle_since: float | None = None
        """Monotonic; None while a request is at work."""
        self.used = False
        """Whether it has carried a request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._admitted = self._table.admit(self, self.transport)
        if self._admitted:
            self._handler.connection_made(transport)
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._table.forget(self)
        if self._admitted:
            self._handler.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._admitted:
            self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received() if self._admitted else None

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()


class Connections:
    """Every connection that is open."""

    def __init__(self, limits: ConnectionLimits, peers: Peers, metrics: Metrics) -> None:
        """For the loop that runs."""
        self._limits = limits
        self._peers = peers
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._by_transport: dict[asyncio.Transport, Connection] = {}
        self._by_peer: dict[str, dict[Connection, None]] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def admit(self, connection: Connection, transport: asyncio.Transport) -> bool:
        """Takes a new connection on, in the place of the one that has been idle longest where there is no other."""
        address = str((transport.get_extra_info("peername") or ("",))[0])
        connection.peer, connection.proxy = key(address), self._peers.trusts(address)
        if not self._has_room(connection):
            self._metrics.http_connection_closed("refused")
            return False
        connection.idle_since = self._loop.time()
        self._by_transport[transport] = connection
        self._by_peer.setdefault(connection.peer, {})[connection] = None
        self._sweeper = self._sweeper or self._loop.call_later(SWEEP_SECONDS, self._sweep)
        return True

    def forget(self, connection: Connection) -> None:
        """Does nothing for one that is not, or no longer, counted."""
        if connection.transport is None or self._by_transport.pop(connection.transport, None) is None:
            return
        of_peer = self._by_peer[connection.peer]
        del of_peer[connection]
        if not of_peer:
            del self._by_peer[connection.peer]

    def stop(self) -> None:
        """Sweeps no more."""
        if self._sweeper is not None:
            self._sweeper.cancel()

    @web.middleware
    async def watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Notes that a request is at work on its connection."""
        connection = self._by_transport.get(request.transport) if request.transport else None
        if connection is None:
            return await handler(request)
        connection.used, connection.idle_since = True, None
        try:
            return await handler(request)
        finally:
            connection.idle_since = self._loop.time()

    def _has_room(self, newcomer: Connection) -> bool:
        own = self._by_peer.get(newcomer.peer, {})
        if not newcomer.proxy and len(own) >= self._limits.per_peer and not self._displace([own]):
            return False
        crowds = sorted(self._by_peer.values(), key=len, reverse=True)
        return len(self._by_transport) < self._limits.most or self._displace(crowds)

    def _displace(self, crowds: Iterable[Iterable[Connection]]) -> bool:
        """Closes the connection that has been idle longest, of the first crowd that has an idle one."""
        for crowd in crowds:
            idle = [(c.idle_since, c) for c in crowd if c.idle_since is not None]
            if idle:
                self._close(min(idle, key=lambda each: each[0])[1], "displaced")
                return True
        return False

    def _sweep(self) -> None:
        now, limits = self._loop.time(), self._limits
        for connection in list(self._by_transport.values()):
            longest = limits.kept_seconds if connection.used else limits.first_seconds
            if connection.idle_since is not None and now - connection.idle_since >= longest:
                self._close(connection, "idle")
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep) if self._by_transport else None

    def _close(self, connection: Connection, reason: str) -> None:
        self._metrics.http_connection_closed(reason)
        self.forget(connection)
        if connection.transport is not None:
            connection.transport.abort()
