"""Answers that do not end cost bounded memory, and are unconfirmed: the request was written."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Any

import aiosmtplib
import pytest

from relaypost_server.core.outcome import Kind
from relaypost_server.core.webhook_targets import TargetPolicy, networks
from relaypost_server.webhooks.sender import HttpWebhookSender
from tests import messages
from tests.fakes.http import Reply, answer, fake_http
from tests.fakes.server import listening
from tests.providers.configured import OVER_HTTP, build, message_for, warmed_up

pytestmark = pytest.mark.usefixtures("aws_keys")

MIB = 1024 * 1024
MOST = 6 * MIB
"""Bytes of memory that one endless answer may take up beside the buffers of the test's own peer."""
TOLD = 64 * MIB
"""Bytes that the peer would write."""


def numbered(line: str) -> Callable[[], Iterator[bytes]]:
    return lambda: (line.format(n).encode() for n in range(2_000_000))


ENDLESS: dict[str, tuple[bytes, Callable[[], Iterator[bytes]]]] = {
    "headers": (b"HTTP/1.1 200 OK\r\n", numbered("X-{}: " + "y" * 1000 + "\r\n")),
    "many small headers": (b"HTTP/1.1 200 OK\r\n", numbered("X-{}: y\r\n")),
    "one header's value": (b"HTTP/1.1 200 OK\r\nX: ", lambda: repeat(b"y" * 4096)),
    "one header's name": (b"HTTP/1.1 200 OK\r\n", lambda: repeat(b"X" * 4096)),
    "the status line": (b"HTTP/1.1 200 ", lambda: repeat(b"O" * 4096)),
    "interim answers": (b"", lambda: repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)),
    "interim answers with headers": (b"", numbered("HTTP/1.1 103 Early\r\nLink: {}\r\n\r\n")),
    "trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n",
        numbered("X-{}: " + "y" * 1000 + "\r\n"),
    ),
    "a trailer's value": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX: ",
        lambda: repeat(b"y" * 4096),
    ),
    "a chunk's extension": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
        lambda: repeat(b"y" * 4096),
    ),
    "the body": (b"HTTP/1.1 200 OK\r\n\r\n", lambda: repeat(b"y" * 4096)),
    "tiny chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        lambda: repeat(b"1\r\ny\r\n" * 500),
    ),
}


@dataclass
class Flood:
    """Answers each request with bytes that do not end, as fast as they are read."""

    begin: bytes
    parts: Callable[[], Iterator[bytes]]
    greeting: bytes = b""
    at_once: int = 64
    """Parts in one write."""
    requests: int = 0
    written: int = 0
    port: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.greeting)
        await reader.read(1)
        self.requests += 1
        writer.write(self.begin)
        try:
            parts = self.parts()
            while self.written < TOLD and (piece := b"".join(islice(parts, self.at_once))):
                writer.write(piece)
                self.written += len(piece)
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def flood(request: pytest.FixtureRequest) -> AsyncIterator[Flood]:
    made = Flood(*ENDLESS[request.param])
    async with listening(made.handle, limit=MIB) as made.port:
        yield made


@pytest.mark.parametrize("flood", sorted(ENDLESS), indirect=True)
@pytest.mark.parametrize("name", ["ses", "sendgrid"])
async def test_an_answer_without_an_end_is_cut_off_early(name: str, flood: Flood) -> None:
    provider = await warmed_up(build(name, OVER_HTTP[name](f"http://127.0.0.1:{flood.port}")))
    tracemalloc.start()
    try:
        outcome = await provider.send(message_for(provider), timeout=20.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        await provider.close()
    assert outcome.kind is Kind.UNCONFIRMED
    assert outcome.given_up_after is None, "it is no time-out"
    assert flood.written < TOLD
    assert flood.requests == 1
    assert peak < MOST


@pytest.mark.parametrize(
    "reply",
    [
        answer(200, b'{"MessageId":"id-1"}', **{f"X-{n}": "y" * 300 for n in range(100)}),
        answer(200, b'{"MessageId":"id-1"}', X_Long="y" * 15_000),
        Reply(b"HTTP/1.1 100 Continue\r\n\r\n" * 8 + answer(200, b'{"MessageId":"id-1"}').data),
        answer(200, b'{"MessageId":"id-1"}' + b" " * 1_000_000),
    ],
)
async def test_answers_within_the_bounds_are_read(reply: Reply) -> None:
    async with fake_http(reply) as peer:
        provider = await warmed_up(build("ses", OVER_HTTP["ses"](peer.url)))
        outcomes = [await provider.send(messages.email(), timeout=10.0) for _ in range(3)]
        await provider.close()
    assert [o.provider_message_id for o in outcomes] == ["id-1"] * 3
    assert peer.connections == 1


SMTP_FLOODS: dict[str, tuple[bytes, Callable[[], Iterator[bytes]], bytes]] = {
    "greeting": (b"", lambda: iter(()), b"220-hello\r\n" * 100_000),
    "EHLO": (b"", lambda: repeat(b"250-X-" + b"y" * 500 + b"\r\n"), b"220 fake\r\n"),
    "EHLO without a line's end": (b"250-", lambda: repeat(b"y" * 4096), b"220 fake\r\n"),
}


@pytest.mark.parametrize("where", sorted(SMTP_FLOODS))
async def test_an_smtp_reply_without_an_end_is_cut_off_early(where: str) -> None:
    begin, parts, greeting = SMTP_FLOODS[where]
    flood = Flood(begin, parts, greeting)
    async with listening(flood.handle, limit=MIB) as flood.port:
        provider = build("smtp", {"SMTP_HOST": "127.0.0.1", "RELAYPOST_SMTP_TLS": "none", "SMTP_PORT": str(flood.port)})
        tracemalloc.start()
        try:
            outcome = await provider.send(messages.email(), timeout=20.0)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            await provider.close()
    assert (outcome.kind, outcome.given_up_after) == (Kind.UNREACHABLE, None)
    assert flood.written < TOLD
    assert peak < MOST


async def test_an_endless_reply_to_the_message_is_unconfirmed() -> None:
    from tests.fakes.smtp import fake_smtp

    async with fake_smtp(DOT="250-" + "y" * 500 + "\r\n250-" * 20_000) as peer:
        provider = build("smtp", {"SMTP_HOST": "127.0.0.1", "RELAYPOST_SMTP_TLS": "none", "SMTP_PORT": str(peer.port)})
        outcome = await provider.send(messages.email(), timeout=20.0)
        await provider.close()
    assert (outcome.kind, len(peer.received)) == (Kind.UNCONFIRMED, 1)


def test_the_smtp_library_bounds_a_whole_reply() -> None:
    """The tests above rest on it."""
    from aiosmtplib import protocol

    assert protocol.MAX_RESPONSE_LENGTH <= 1024 * 1024, aiosmtplib.__version__


@pytest.mark.parametrize("flood", sorted(set(ENDLESS) - {"tiny chunks"}), indirect=True)
async def test_a_webhook_endpoint_cannot_answer_without_an_end(flood: Flood) -> None:
    policy = TargetPolicy(http=True, ports=(range(1, 65536),), networks=networks(["127.0.0.0/8"]))
    sender = HttpWebhookSender(policy, timeout=3.0)
    tracemalloc.start()
    try:
        answered: Any = await sender.post(f"http://127.0.0.1:{flood.port}/", {}, b"{}")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        await sender.close()
    assert answered is not None
    assert peak < MOST
