"""The way out, against real servers that misbehave and names that lead astray."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from relaypost_server.core.webhook_retry import Answer
from relaypost_server.core.webhook_targets import TargetPolicy, networks
from relaypost_server.webhooks import sender as way_out
from relaypost_server.webhooks.sender import HttpWebhookSender
from tests.fakes.http import CLOSE, HANG, RESET, FakeHttp, Reply, answer, closed_port, fake_http
from tests.fakes.targets import LOOPBACK

HEADERS = {"webhook-id": "1", "webhook-timestamp": "2", "webhook-signature": "v1,x"}
BODY = b'{"type":"message.sent"}'
PUBLIC = TargetPolicy(ports=(range(1, 65536),), http=True)
"""Like the default, but for ports and http: tests have no certificates for every name."""
Names = Mapping[str, list[str]]


@asynccontextmanager
async def sender(
    policy: TargetPolicy = LOOPBACK,
    *,
    names: Names | Callable[[str], list[str]] | None = None,
    timeout: float = 10.0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[HttpWebhookSender]:
    """`names`: what a name is looked up as."""

    def lookup(host: str, port: int, family: socket.AddressFamily) -> list[str]:
        assert names is not None
        found = names(host) if callable(names) else names.get(host)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return found

    made = HttpWebhookSender(policy, timeout=timeout, lookup=lookup if names is not None else None, tls=tls)
    try:
        yield made
    finally:
        await made.close()


async def posted(fake: FakeHttp, *, timeout: float = 10.0) -> Answer:
    async with sender(timeout=timeout) as way:
        return await way.post(f"{fake.url}/hook?token=1", HEADERS, BODY)


async def test_a_request_arrives_as_it_was_made() -> None:
    async with fake_http(answer(204)) as fake:
        assert await posted(fake) == Answer(status=204)
    [request] = fake.received
    assert request.line == "POST /hook?token=1 HTTP/1.1"
    assert request.body == BODY
    assert request.headers == {
        **HEADERS,
        "host": f"127.0.0.1:{fake.port}",
        "content-type": "application/json",
        "user-agent": "relaypost-webhooks",
        "accept": "*/*",
        "accept-encoding": "identity",
        "content-length": str(len(BODY)),
    }


@pytest.mark.parametrize("status", [200, 301, 302, 307, 308, 404, 410, 429, 500])
async def test_nothing_is_followed_or_repeated(status: int) -> None:
    async with fake_http(answer(200)) as elsewhere, fake_http() as fake:
        fake.always(answer(status, b"x" * 100, Location=f"{elsewhere.url}/", Set_Cookie="a=b", Retry_After="7"))
        async with sender() as way:
            answers = [await way.post(fake.url, HEADERS, BODY) for _ in range(2)]
    assert [a.status for a in answers] == [status, status]
    assert {a.retry_after for a in answers} == {7.0}
    assert answers[0].ok == (status == 200)
    assert (len(fake.received), fake.connections, elsewhere.received) == (2, 1, [])
    assert "cookie" not in fake.received[1].headers


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (CLOSE, "no answer of use"),
        (RESET, "no answer of use"),
        (Reply(b"garbage\r\n\r\n", then="close"), "no answer of use"),
        (Reply(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000, then="close"), "no answer of use"),
        (Reply(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000, then="close"), "no answer of use"),
        (HANG, "no answer within 0.3 s"),
        (Reply(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1000, pause=0.01), "no answer within 0.3 s"),
    ],
)
async def test_what_is_no_whole_answer_fails(reply: Reply, why: str) -> None:
    async with fake_http(reply) as fake:
        failed = await posted(fake, timeout=0.3)
    assert (failed.status, failed.ok) == (0, False)
    assert failed.detail.startswith(why)
    assert fake.url not in failed.detail


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 5_000_000),
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + b"x" * 5000, pause=0.001),
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", then="close"),
    ],
)
async def test_an_answer_counts_though_it_does_not_end_well(reply: Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its status says all that matters; the bytes behind it are not read on, and its connection is not kept."""
    monkeypatch.setattr(way_out, "READ_SECONDS", 0.1)
    async with fake_http(reply) as fake:
        async with sender() as way:
            assert await way.post(fake.url, HEADERS, BODY) == Answer(status=200)
            assert await way.post(fake.url, HEADERS, BODY) == Answer(status=200)
        assert fake.connections == 2


async def test_a_compressed_answer_is_not_unpacked() -> None:
    async with fake_http(answer(200, b"not gzip at all", Content_Encoding="gzip")) as fake:
        assert await posted(fake) == Answer(status=200)


async def test_who_does_not_listen_is_not_connected() -> None:
    async with sender() as way:
        failed = await way.post(f"http://127.0.0.1:{closed_port()}/", HEADERS, BODY)
    assert failed == Answer(detail="not connected (ConnectionRefusedError)")


async def test_a_name_that_does_not_exist_or_cannot_be() -> None:
    async with sender(names={}) as way:
        assert await way.post("http://nobody.example/", HEADERS, BODY) == Answer(detail="the name cannot be looked up")
    async with sender() as way:
        failed = await way.post("http://a..example/", HEADERS, BODY)
        assert (failed.status, failed.ok) == (0, False)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["169.254.169.254"],
        ["10.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["fe80::1%1"],
        ["8.8.8.8", "127.0.0.1"],
        ["2606:4700:4700::1111", "::1"],
    ],
    ids=" ".join,
)
async def test_a_name_that_leads_inside_is_not_connected_to(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    async with fake_http(answer(200)) as fake, sender(PUBLIC, names={"evil.example": addresses}) as way:
        monkeypatch.setattr(socket, "socket", refuse)
        failed = await way.post(f"http://evil.example:{fake.port}/", HEADERS, BODY)
        monkeypatch.undo()
    assert failed == Answer(detail="the address is not allowed")
    assert fake.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "127.1"])
async def test_an_address_in_the_url_is_checked_each_time(host: str) -> None:
    """It may have been registered when another setting held."""
    async with fake_http(answer(200)) as fake, sender(PUBLIC) as way:
        failed = await way.post(f"http://{host}:{fake.port}/", HEADERS, BODY)
        assert failed.detail.startswith("the URL ")
    assert fake.connections == 0


async def test_a_redirect_inside_leads_nowhere() -> None:
    async with fake_http() as fake:
        fake.always(answer(302, Location="http://169.254.169.254/latest/meta-data/"))
        assert (await posted(fake)).status == 302


async def test_a_name_is_looked_up_once_for_a_connection() -> None:
    """DNS rebinding: a second look-up would be answered otherwise, and nobody makes one."""
    asked: list[str] = []

    def rebinding(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    async with fake_http(answer(200)) as fake, sender(names=rebinding) as way:
        done = await way.post(f"http://rebinding.example:{fake.port}/", HEADERS, BODY)
    assert (done.status, asked) == (200, ["rebinding.example"])
    assert fake.received[0].headers["host"] == f"rebinding.example:{fake.port}"


async def test_what_a_resolver_lets_through_is_checked_where_the_socket_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last gate, in case the one before it is left open."""
    loose = TargetPolicy(ports=PUBLIC.ports, http=True, networks=networks(["127.0.0.0/8"]))
    async with fake_http(answer(200)) as fake, sender(PUBLIC, names={"evil.example": ["127.0.0.1"]}) as way:
        monkeypatch.setattr(way._resolver, "_policy", loose)
        failed = await way.post(f"http://evil.example:{fake.port}/", HEADERS, BODY)
    assert failed == Answer(detail="the address is not allowed")
    assert fake.connections == 0


async def test_tls_is_that_of_the_name(self_signed: tuple[Path, Path]) -> None:
    certificate, key = self_signed
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(certificate, key)
    shown: list[str | None] = []
    serving.sni_callback = lambda _socket, name, _context: shown.append(name)
    trusting = ssl.create_default_context(cafile=str(certificate))
    names = {"localhost": ["127.0.0.1"], "other.example": ["127.0.0.1"]}
    async with fake_http(answer(200), tls=serving) as fake:
        async with sender(names=names, tls=trusting) as way:
            done = await way.post(f"https://localhost:{fake.port}/", HEADERS, BODY)
            assert done == Answer(status=200)
            other = await way.post(f"https://other.example:{fake.port}/", HEADERS, BODY)
            assert other == Answer(detail="its certificate is not valid")
        async with sender(names=names) as way:
            unknown = await way.post(f"https://localhost:{fake.port}/", HEADERS, BODY)
            assert unknown == Answer(detail="its certificate is not valid")
    assert (len(fake.received), shown) == (1, ["localhost", "other.example", "localhost"])


async def test_a_look_up_that_hangs_holds_nobody_else_up() -> None:
    released = asyncio.Event()
    loop = asyncio.get_running_loop()

    def names(host: str) -> list[str]:
        if host == "hanging.example":
            asyncio.run_coroutine_threadsafe(released.wait(), loop).result()
        return ["127.0.0.1"]

    async with fake_http(answer(200)) as fake, sender(names=names, timeout=1.0) as way:
        hanging = [asyncio.create_task(way.post(f"http://hanging.example:{fake.port}/", {}, BODY)) for _ in range(20)]
        await asyncio.sleep(0)
        assert (await way.post(f"http://quick.example:{fake.port}/", HEADERS, BODY)).status == 200
        assert {a.detail for a in await asyncio.gather(*hanging)} == {"no answer within 1 s"}
        [thread] = [t for t in threading.enumerate() if t.name == "names-webhooks"]
        assert thread.daemon  # It would hold up the end of the process.
        released.set()
        await asyncio.to_thread(thread.join)


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_http(answer(200)) as fake, fake_http(answer(200)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert (await posted(fake)).status == 200
    assert proxy.connections == 0
    assert json.loads(fake.received[0].body) == {"type": "message.sent"}
