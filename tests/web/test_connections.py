"""Connections that send nothing, or little, keep nobody out."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from relaypost_server.core.webhook_targets import networks
from relaypost_server.telemetry.metrics import Metrics
from relaypost_server.web.app import HttpServer, build
from relaypost_server.web.connections import ConnectionLimits
from relaypost_server.web.peers import Peers

STRANGER = "127.0.0.2"
PROXY = "127.0.0.3"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
OPEN: list[asyncio.StreamWriter] = []


@dataclass
class Served:
    """A running HTTP side with a route that takes its time."""

    port: int
    metrics: Metrics
    at_work: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    async def connect(self, source: str = "127.0.0.1") -> Streams:
        streams = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))
        OPEN.append(streams[1])
        return streams

    async def status(self) -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}/health/live") as answer,
        ):
            return answer.status

    def closed(self, reason: str) -> float:
        shown = f'relaypost_http_connections_closed_total{{reason="{reason}"}} '
        lines = [line for line in self.metrics.render().decode().splitlines() if line.startswith(shown)]
        return float(lines[0].removeprefix(shown)) if lines else 0.0


@asynccontextmanager
async def serving(limits: ConnectionLimits, proxies: Sequence[str] = ()) -> AsyncIterator[Served]:
    metrics = Metrics()
    served = Served(0, metrics)

    async def slow(_request: web.Request) -> web.Response:
        served.at_work.set()
        await served.may_end.wait()
        return web.Response()

    health: Any = None
    app = build(health, metrics, lambda: True, [web.get("/slow", slow)])
    server = HttpServer(app, limits=limits, peers=Peers(networks(proxies)), metrics=metrics)
    served.port = await server.start("127.0.0.1:0")
    try:
        yield served
    finally:
        served.may_end.set()
        await server.stop()


@pytest.fixture(autouse=True)
async def closed_connections() -> AsyncIterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()
    await asyncio.sleep(0)


async def gone(streams: Streams) -> None:
    """Returns once the other side has closed the connection."""
    async with asyncio.timeout(20):
        try:
            while await streams[0].read(1024):
                pass
        except ConnectionError:
            pass


async def request(streams: Streams, path: str = "/health/live") -> bytes:
    """The status line; the answer is read whole."""
    streams[1].write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    async with asyncio.timeout(20):
        head = await streams[0].readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        await streams[0].readexactly(length)
    return head.partition(b"\r\n")[0]


async def test_connections_that_send_nothing_or_little_are_closed() -> None:
    async with serving(ConnectionLimits(first_seconds=1.0)) as served:
        silent, slow = await served.connect(), await served.connect()

        async def drip() -> None:
            try:
                for byte in b"GET /health/live HTTP/1.1\r\nX: " + b"x" * 10_000:
                    slow[1].write(bytes([byte]))
                    await slow[1].drain()
                    await asyncio.sleep(0.02)
            except ConnectionError:
                pass

        dripping = asyncio.create_task(drip())
        await asyncio.gather(gone(silent), gone(slow))
        dripping.cancel()
        assert served.closed("idle") == 2


async def test_a_kept_connection_is_closed_when_it_is_not_used_again() -> None:
    async with serving(ConnectionLimits(first_seconds=20.0, kept_seconds=1.0)) as served:
        kept = await served.connect()
        for _ in range(2):
            assert await request(kept) == b"HTTP/1.1 200 OK"
        await gone(kept)


async def test_a_request_at_work_is_not_idle() -> None:
    async with serving(ConnectionLimits(first_seconds=1.0, kept_seconds=1.0)) as served:
        busy, silent = await served.connect(), await served.connect()
        answered = asyncio.create_task(request(busy, "/slow"))
        await served.at_work.wait()
        await gone(silent)
        served.may_end.set()
        assert await answered == b"HTTP/1.1 200 OK"


async def test_a_peer_with_many_connections_displaces_its_own() -> None:
    async with serving(ConnectionLimits(most=100, per_peer=4, first_seconds=60.0)) as served:
        own = await served.connect()
        crowd = [await served.connect(STRANGER) for _ in range(10)]
        await asyncio.gather(*(gone(streams) for streams in crowd[:6]))
        assert served.closed("displaced") == 6
        for streams in (own, *crowd[6:]):
            assert await request(streams) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("sources", [["127.0.0.1"], ["127.0.0.4", "127.0.0.5", "127.0.0.6"]], ids=["one", "many"])
async def test_a_newcomer_displaces_an_idle_connection_where_there_is_no_room(sources: list[str]) -> None:
    async with serving(ConnectionLimits(most=6, first_seconds=60.0)) as served:
        crowd = [await served.connect(sources[n % len(sources)]) for n in range(6)]
        for _ in range(3):
            assert await served.status() == 200
        await gone(crowd[0])


async def test_a_newcomer_is_refused_where_every_connection_is_at_work() -> None:
    async with serving(ConnectionLimits(most=1)) as served:
        busy = await served.connect()
        answered = asyncio.create_task(request(busy, "/slow"))
        await served.at_work.wait()
        await gone(await served.connect())
        assert served.closed("refused") == 1
        served.may_end.set()
        assert await answered == b"HTTP/1.1 200 OK"
        assert await served.status() == 200


async def test_a_trusted_proxy_may_have_more_connections() -> None:
    async with serving(ConnectionLimits(per_peer=2, first_seconds=60.0), [PROXY]) as served:
        crowd = [await served.connect(PROXY) for _ in range(6)]
        for streams in crowd:
            assert await request(streams) == b"HTTP/1.1 200 OK"
        assert served.closed("displaced") == 0
