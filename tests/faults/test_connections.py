"""Providers that cannot be reached, or not safely: rows 5 and 6 of the fault matrix."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from relaypost.v1 import message_pb2

from tests.fakes import names
from tests.fakes.http import closed_port, fake_http
from tests.fakes.server import listening
from tests.fakes.smtp import fake_smtp
from tests.faults.providers import TAKEN
from tests.faults.world import World, first, kinds, world

IMPATIENT = {
    "RELAYPOST_SES_CONNECT_TIMEOUT_SECONDS": "0.5",
    "RELAYPOST_SMTP_CONNECT_TIMEOUT_SECONDS": "0.5",
}


@asynccontextmanager
async def lag(running: World) -> AsyncIterator[list[float]]:
    """Seconds that a call took which has nothing to wait for, measured all the while."""
    measured: list[float] = []
    loop = asyncio.get_running_loop()

    async def measure() -> None:
        while True:
            began = loop.time()
            await running.client.provider_health()
            measured.append(loop.time() - began)
            await asyncio.sleep(0.01)

    await running.client.provider_health()
    task = asyncio.create_task(measure())
    try:
        yield measured
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def all_go_to_the_next_provider(running: World, messages: int = 4) -> None:
    """While nothing else in the gateway is held up."""
    async with lag(running) as measured:
        sent = await asyncio.gather(*(running.email() for _ in range(messages)))
    assert [kinds(m) for m in sent] == [[("ses", "UNREACHABLE"), ("sendgrid", "ACCEPTED")]] * messages
    assert not any(m.possible_duplicate for m in sent)
    # Half of the time says what the gateway does, whatever else this machine does; a look-up that blocks takes seconds.
    assert sorted(measured)[len(measured) // 2] < 1.0


async def test_a_refused_connection_moves_on(bundled_database: str) -> None:
    """Row 5."""
    async with world(bundled_database, {"RELAYPOST_SES_ENDPOINT": f"http://127.0.0.1:{closed_port()}"}) as running:
        await all_go_to_the_next_provider(running)


@pytest.mark.parametrize("host", [names.SILENT, "nowhere.example"])
async def test_a_name_without_an_address_moves_on(host: str, bundled_database: str, tmp_path: Path) -> None:
    """Row 5: the resolver says nothing, or that there is no such name."""
    environ = {**IMPATIENT, "RELAYPOST_SES_ENDPOINT": f"http://{host}:8443"}
    async with names.resolver(tmp_path) as within, world(bundled_database, environ, within=within) as running:
        await all_go_to_the_next_provider(running)


async def test_a_name_that_hangs_holds_up_no_other_look_up(bundled_database: str, tmp_path: Path) -> None:
    """Row 5: however many messages wait for SMTP's address, that of SES is found."""
    async with names.resolver(tmp_path) as within, fake_http(TAKEN["ses"]) as ses:
        environ = {
            **first("smtp"),
            **IMPATIENT,
            "SMTP_HOST": names.SILENT,
            "RELAYPOST_SMTP_BREAKER_FAILURES": "1000",
            "RELAYPOST_SMTP_BREAKER_RATE": "2",
            "RELAYPOST_SES_ENDPOINT": f"http://localhost:{ses.port}",
            "RELAYPOST_SENDGRID_ENABLED": "false",
        }
        async with world(bundled_database, environ, within=within) as running:
            for _ in range(3):
                sent = await asyncio.gather(*(running.email() for _ in range(10)))
                assert {tuple(kinds(m)) for m in sent} == {(("smtp", "UNREACHABLE"), ("ses", "ACCEPTED"))}


def server_side(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


async def test_a_certificate_that_nobody_signed_moves_on(bundled_database: str, self_signed: tuple[Path, Path]) -> None:
    """Row 6: the message never leaves."""
    async with fake_http(tls=server_side(self_signed)) as ses:
        environ = {"RELAYPOST_SES_ENDPOINT": f"https://127.0.0.1:{ses.port}"}
        async with world(bundled_database, environ) as running:
            await all_go_to_the_next_provider(running)
        assert ses.received == []


async def test_a_certificate_for_another_host_moves_on(bundled_database: str, self_signed: tuple[Path, Path]) -> None:
    """Row 6: it is trusted, but not for 127.0.0.2."""
    async with fake_http(tls=server_side(self_signed), host="127.0.0.2") as ses:
        environ = {
            "RELAYPOST_SES_ENDPOINT": f"https://127.0.0.2:{ses.port}",
            "SSL_CERT_FILE": str(self_signed[0]),
        }
        async with world(bundled_database, environ) as running:
            await all_go_to_the_next_provider(running)
        assert ses.received == []


@pytest.mark.parametrize(
    "says", [pytest.param(b"", id="stalls"), pytest.param(b"HTTP/1.1 400 X\r\n\r\n", id="in the clear")]
)
async def test_a_peer_that_does_not_shake_hands_gets_nothing_in_the_clear(says: bytes, bundled_database: str) -> None:
    """Row 6: the handshake stalls, or the peer speaks no TLS."""
    heard: list[bytes] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        while data := await reader.read(65536):
            heard.append(data)
        writer.close()

    async with listening(peer, limit=65536) as port:
        environ = {**IMPATIENT, "RELAYPOST_SES_ENDPOINT": f"https://127.0.0.1:{port}"}
        async with world(bundled_database, environ) as running:
            await all_go_to_the_next_provider(running)
    assert heard
    said = b"".join(heard)
    assert said.startswith(b"\x16\x03")
    for words in (b"POST", b"482915", b"ada@example.com"):
        assert words not in said


async def test_a_mail_server_without_starttls_gets_nothing_in_the_clear(bundled_database: str) -> None:
    """Row 6: whoever strips STARTTLS from the greeting learns no address."""
    async with fake_smtp() as stripped:
        environ = {**first("smtp"), "SMTP_PORT": str(stripped.port), "RELAYPOST_SMTP_TLS": "starttls"}
        async with world(bundled_database, environ) as running:
            message = await running.email()
    assert message.state == message_pb2.MESSAGE_STATE_SENT
    assert [provider for provider, kind in kinds(message) if kind == "ACCEPTED"] == ["ses"]
    assert (stripped.received, stripped.envelopes) == ([], [])
