"""The gateway's event loop: names that hang, several hosts, and certificates that are checked for the name."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest
import uvloop

from relaypost_server import event_loop
from relaypost_server.event_loop import Loop
from relaypost_server.names import NameResolver
from tests.fakes.server import listening

T = TypeVar("T")
SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


class Names:
    """Knows names of 127.0.0.1; one that is silent keeps whoever asks until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.asked: list[str] = []
        self._really = socket.getaddrinfo

    def look_up(self, host: Any, port: Any, *rest: Any) -> list[Any]:
        self.asked.append(host)
        if host.startswith("silent"):
            self.released.wait(60)
        if not host.endswith(".example"):
            return self._really(host, port, *rest)
        return self._really("127.0.0.1", port, *rest)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    made = Names()
    monkeypatch.setattr(event_loop, "_look_up", made.look_up)
    yield made
    made.released.set()


def run(main: Callable[[], Awaitable[T]]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(30):
            return await main()

    return uvloop.run(bounded(), loop_factory=Loop)


def test_names_that_hang_delay_no_other_name(names: Names) -> None:
    """Neither connecting nor a bare look-up."""

    async def main() -> None:
        async with listening(echo, limit=100) as port:
            hanging = [asyncio.create_task(asyncio.open_connection(f"silent{n}.example", port)) for n in range(20)]
            while len(names.asked) < len(hanging):
                await asyncio.sleep(0.001)
            reader, writer = await asyncio.open_connection("quick.example", port)
            assert await asyncio.get_running_loop().getaddrinfo("other.example", port)
            writer.write(b"x")
            assert await reader.read(1) == b"x"
            writer.close()
            assert not any(task.done() for task in hanging)
            for task in hanging:
                task.cancel()

    run(main)


def test_a_name_that_hangs_costs_one_thread_however_many_ask(names: Names) -> None:
    async def main() -> None:
        for _ in range(20):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.open_connection("silent.example", 1)
        while not names.asked:
            await asyncio.sleep(0.001)
        assert names.asked == ["silent.example"]
        threads = [thread for thread in threading.enumerate() if thread.name == "names-hosts"]
        assert [thread.daemon for thread in threads] == [True]

    run(main)


def test_an_answer_that_comes_late_serves_those_who_wait_by_then(names: Names) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await loop.getaddrinfo("silent.example", 1)
        later = asyncio.create_task(loop.getaddrinfo("silent.example", 1))
        await asyncio.sleep(0)
        names.released.set()
        assert await later
        assert names.asked == ["silent.example"]

    run(main)


def test_the_threads_are_bounded() -> None:
    names = Names()

    async def main() -> None:
        resolver: NameResolver[list[Any]] = NameResolver(names.look_up, purpose="test", most=3)
        asking = [asyncio.create_task(resolver.find(f"silent{n}.example", 1)) for n in range(10)]
        while len(names.asked) < 3:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        assert len(names.asked) == 3
        names.released.set()
        assert all(await asyncio.gather(*asking))

    run(main)


def test_an_address_needs_no_thread(names: Names) -> None:
    async def main() -> None:
        async with listening(echo, limit=100) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()

    run(main)
    assert names.asked == []


def test_of_several_database_hosts_one_whose_name_hangs_is_passed_over(
    names: Names, outside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_loop, "LOOK_UP_SECONDS", 0.1)

    async def main() -> None:
        url = "postgresql://postgres@silent.example:5432,primary.example:5432/postgres?target_session_attrs=read-write"
        connection = await asyncpg.connect(url, timeout=10)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()

    run(main)
    assert names.asked == ["silent.example", "primary.example"]


@pytest.mark.parametrize(
    ("host", "accepted"),
    [("localhost", True), ("127.0.0.1", True), ("another.example", False)],
)
def test_a_databases_certificate_is_checked_for_its_name(
    host: str, accepted: bool, names: Names, self_signed: tuple[Path, Path]
) -> None:
    """It is valid for localhost and 127.0.0.1; the other name leads to that address as well."""
    shaken: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed)

    async def postgres(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(8) == SSL_REQUEST
        writer.write(b"S")
        try:
            await writer.start_tls(context)
            shaken.append((await reader.read(100)).decode("latin-1"))
        except (ssl.SSLError, ConnectionError):
            pass
        writer.close()

    async def main() -> None:
        async with listening(postgres, limit=100) as port:
            url = f"postgresql://me@{host}:{port}/db?sslmode=verify-full&sslrootcert={self_signed[0]}"
            with pytest.raises((OSError, asyncpg.PostgresError)) as caught:
                await asyncpg.connect(url, timeout=10)
            assert isinstance(caught.value, ssl.SSLCertVerificationError) is not accepted

    run(main)
    assert any("user" in text for text in shaken) is accepted


def test_a_unix_socket_is_connected_to_as_ever(names: Names, bundled: str) -> None:
    async def main() -> None:
        connection = await asyncpg.connect(bundled)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()

    run(main)
    assert names.asked == []


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
    writer.close()
