"""A flood of callbacks of one kind, or from one peer, shuts out no other."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from relaypost_server.core.ports import Callback
from relaypost_server.core.suppression import Reply
from relaypost_server.web.rooms import NoRoomError, RoomLimits, Rooms
from tests.web.test_callbacks import FakeReader, Site, site

STRANGER, PROVIDER = "127.0.0.2", "127.0.0.1"


@dataclass
class FakeReplyReader(FakeReader):
    """Takes replies as well: those without a query."""

    replies: list[Callback] = field(default_factory=list)

    def is_reply(self, head: Callback) -> bool:
        return "?" not in head.path

    async def read_reply(self, callback: Callback) -> Reply | None:
        if not self.is_reply(callback):
            return None
        self.replies.append(callback)
        return Reply(provider=self.name, id="SM1", address="+14155550123", wants_messages=None)


class Post:
    """A callback over a connection of its own, whose body comes when it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def status(self) -> int:
        async with asyncio.timeout(20):
            return int((await self.reader.readline()).split()[1])

    def finish(self) -> None:
        self.writer.write(b"x" * 10)


OPEN: list[asyncio.StreamWriter] = []


@pytest.fixture(autouse=True)
async def closed_connections() -> AsyncIterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()
    await asyncio.sleep(0)


async def begin(
    running: Site, path: str, source: str, headers: Sequence[str] = (), *, length: str = "Content-Length: 10"
) -> Post:
    """Sends all but the body."""
    port = int(running.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    OPEN.append(writer)
    lines = [f"POST /callbacks/{path} HTTP/1.1", "Host: x", length, *headers]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    return Post(reader, writer)


async def whole(running: Site, path: str, source: str, headers: Sequence[str] = ()) -> int:
    made = await begin(running, path, source, headers)
    made.finish()
    return await made.status()


async def fill(running: Site, path: str, source: str, most: int) -> list[Post]:
    """Begins callbacks until one is turned away."""
    held = [await begin(running, path, source) for _ in range(most + 1)]
    async with asyncio.timeout(20):
        while await whole(running, path, source) != 503:
            await asyncio.sleep(0.01)
    return held


async def test_a_peer_leaves_room_for_others(bundled_database: str, tmp_path: Path) -> None:
    rooms = RoomLimits(callbacks=8, callbacks_per_peer=2)
    async with site(bundled_database, tmp_path, FakeReader(), rooms=rooms) as running:
        held = await fill(running, "fake", STRANGER, 2)
        assert await whole(running, "fake", PROVIDER) == 200
        assert 'callbacks_refused_total{provider="fake",reason="busy"}' in running.metrics.render().decode()
        for post in held:
            post.finish()
        assert sorted([await post.status() for post in held]) == [200, 200, 503]
        assert await whole(running, "fake", STRANGER) == 200


async def test_a_provider_leaves_room_for_others(bundled_database: str, tmp_path: Path) -> None:
    rooms = RoomLimits(callbacks=2)
    async with site(bundled_database, tmp_path, FakeReader(), FakeReader("other"), rooms=rooms) as running:
        await fill(running, "fake", STRANGER, 2)
        assert await whole(running, "fake", PROVIDER) == 503
        assert await whole(running, "other", PROVIDER) == 200


async def test_receipts_leave_room_for_replies(bundled_database: str, tmp_path: Path) -> None:
    reader, rooms = FakeReplyReader(), RoomLimits(callbacks=2)
    async with site(bundled_database, tmp_path, reader, rooms=rooms) as running:
        await fill(running, "fake?id=1", STRANGER, 2)
        assert await whole(running, "fake?id=1", PROVIDER) == 503
        assert await whole(running, "fake", PROVIDER) == 200
    assert len(reader.replies) == 1


async def test_peers_behind_a_trusted_proxy_are_told_apart(bundled_database: str, tmp_path: Path) -> None:
    rooms = RoomLimits(callbacks=8, callbacks_per_peer=1)
    async with site(bundled_database, tmp_path, FakeReader(), rooms=rooms, proxies=[STRANGER]) as running:
        await begin(running, "fake", STRANGER, ["X-Forwarded-For: 198.51.100.1"])
        async with asyncio.timeout(20):
            while await whole(running, "fake", STRANGER, ["X-Forwarded-For: 198.51.100.1"]) != 503:
                await asyncio.sleep(0.01)
        assert await whole(running, "fake", STRANGER, ["X-Forwarded-For: 198.51.100.2"]) == 200
        assert await whole(running, "fake", PROVIDER, ["X-Forwarded-For: 198.51.100.1"]) == 200


@pytest.mark.parametrize("length", ["Content-Length: 10", "Transfer-Encoding: chunked"])
async def test_what_cannot_be_verified_is_refused_before_its_body_comes(
    bundled_database: str, tmp_path: Path, length: str
) -> None:
    """More of them than there is room, and none takes any."""
    reader = FakeReader(refuses_head=True)
    async with site(bundled_database, tmp_path, reader, rooms=RoomLimits(callbacks=1)) as running:
        posts = [await begin(running, "fake", STRANGER, length=length) for _ in range(8)]
        assert {await post.status() for post in posts} == {403}
        reader.refuses_head = False
        assert await whole(running, "fake", PROVIDER) == 200


async def test_a_length_beyond_the_bound_is_refused_before_the_body_comes(
    bundled_database: str, tmp_path: Path
) -> None:
    async with site(bundled_database, tmp_path, FakeReader(largest_callback=9)) as running:
        assert await (await begin(running, "fake", STRANGER)).status() == 413


def test_room_is_counted_in_bytes_too_and_given_back() -> None:
    rooms = Rooms(RoomLimits(callbacks=9, bytes=100, callbacks_per_peer=9, bytes_per_peer=60))
    for _ in range(3):
        with rooms.entered("kind", "a", 60):
            with pytest.raises(NoRoomError), rooms.entered("kind", "a", 1):
                pass
            with rooms.entered("kind", "b", 40), pytest.raises(NoRoomError), rooms.entered("kind", "c", 1):
                pass
            with rooms.entered("another", "a", 60):
                pass
