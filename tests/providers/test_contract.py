"""What every provider that speaks HTTP must do, whatever it is called.

A new provider is tested by its line in `configured.py`.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.ports import Provider
from relaypost_server.providers import PROVIDERS
from tests.fakes.http import CLOSE, HANG, RESET, FakeHttp, Reply, answer, closed_port, fake_http
from tests.providers.configured import OTHERS, OVER_HTTP, SECRETS, build, message_for, warmed_up

pytestmark = pytest.mark.usefixtures("aws_keys")

OK = {
    "ses": answer(200, b'{"MessageId":"id-1"}', Content_Type="application/json"),
    "sendgrid": answer(202, X_Message_Id="id-1"),
    "sns": answer(
        200, b"<PublishResponse><PublishResult><MessageId>id-1</MessageId></PublishResult></PublishResponse>"
    ),
    "twilio": answer(201, b'{"sid":"id-1"}', Content_Type="application/json"),
}


@pytest.fixture
async def peer() -> AsyncIterator[FakeHttp]:
    async with fake_http() as fake:
        yield fake


@pytest.fixture(params=sorted(OVER_HTTP))
async def provider(request: pytest.FixtureRequest, peer: FakeHttp) -> AsyncIterator[Any]:
    built = build(request.param, OVER_HTTP[request.param](peer.url))
    await warmed_up(built)
    yield built
    await built.close()


async def send(provider: Provider[Any], timeout: float = 1.0) -> Outcome:
    return await provider.send(message_for(provider), timeout=timeout)


def test_every_provider_is_tested() -> None:
    assert {p.name for p in PROVIDERS} == set(OVER_HTTP) | OTHERS


async def test_an_accepted_message_has_an_id_and_was_submitted_once(provider: Any, peer: FakeHttp) -> None:
    peer.always(OK[provider.name])
    outcome = await send(provider)
    assert (outcome.kind, outcome.provider_message_id) == (Kind.ACCEPTED, "id-1")
    assert outcome.cost is not None
    assert len(peer.received) == 1


async def test_connections_are_kept(provider: Any, peer: FakeHttp) -> None:
    peer.always(OK[provider.name])
    for _ in range(5):
        await send(provider)
    assert peer.connections == 1


async def test_many_messages_at_once_use_at_most_the_pool(peer: FakeHttp) -> None:
    peer.always(OK["ses"])
    provider = build("ses", {**OVER_HTTP["ses"](peer.url), "RELAYPOST_SES_POOL_SIZE": "3"})
    outcomes = await asyncio.gather(*(send(provider, timeout=5.0) for _ in range(50)))
    await provider.close()
    assert {o.kind for o in outcomes} == {Kind.ACCEPTED}
    assert len(peer.received) == 50
    assert peer.connections <= 3


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(HANG, id="hangs"),
        pytest.param(RESET, id="resets"),
        pytest.param(CLOSE, id="closes"),
        pytest.param(Reply(b"HTTP/1.1 20", then="reset"), id="resets in the status"),
        pytest.param(Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", then="reset"), id="resets in the body"),
        pytest.param(Reply(b"HTTP/1.1 500 X\r\nContent-Length: 9\r\n\r\n{", then="close"), id="error cut short"),
        pytest.param(Reply(b"x" * 100, pause=0.05), id="drips"),
        pytest.param(
            Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + b"x" * 99, pause=0.05), id="drips a body"
        ),
        pytest.param(Reply(b"\x00\xff\x16\x03garbage\r\n\r\n"), id="garbage"),
        pytest.param(Reply(b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), id="wants to upgrade"),
        pytest.param(answer(200, b"x" * (1024 * 1024 + 1)), id="does not end"),
        pytest.param(Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"), id="bad chunk"),
        pytest.param(answer(500), id="500"),
        pytest.param(answer(502, b"<html>proxy</html>"), id="502"),
        pytest.param(answer(504), id="504"),
    ],
)
async def test_a_lost_answer_is_unconfirmed_and_never_submitted_again(
    provider: Any, peer: FakeHttp, reply: Reply
) -> None:
    peer.always(reply)
    outcome = await send(provider)
    assert outcome.kind is Kind.UNCONFIRMED
    await asyncio.sleep(0.05)
    assert len(peer.received) == 1


@pytest.mark.parametrize("body", [b"<html>login</html>", b'{"MessageId":', b"[]", b"null", b""])
async def test_a_success_that_makes_no_sense_is_unconfirmed(provider: Any, peer: FakeHttp, body: bytes) -> None:
    """SendGrid's 202 has no body to make sense of, and no other success of it counts."""
    peer.always(answer(200, body))
    assert (await send(provider)).kind is Kind.UNCONFIRMED


async def test_a_success_that_is_cut_short_is_accepted_without_an_id(provider: Any, peer: FakeHttp) -> None:
    peer.always(Reply(b"HTTP/1.1 202 OK\r\nContent-Length: 99\r\n\r\n{", then="close"))
    outcome = await send(provider)
    assert (outcome.kind, outcome.provider_message_id) == (Kind.ACCEPTED, "")


async def test_a_success_that_is_cut_short_and_not_the_providers_own_is_unconfirmed(peer: FakeHttp) -> None:
    peer.always(Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n<html>", then="close"))
    provider = build("sendgrid", OVER_HTTP["sendgrid"](peer.url))
    assert (await send(provider)).kind is Kind.UNCONFIRMED
    await provider.close()


async def test_an_answer_without_a_length_ends_with_its_connection(peer: FakeHttp) -> None:
    peer.always(Reply(b'HTTP/1.1 200 OK\r\n\r\n{"MessageId":"id-1"}', then="close"))
    provider = build("ses", OVER_HTTP["ses"](peer.url))
    assert (await send(provider)).provider_message_id == "id-1"
    await provider.close()


async def test_chunked_and_interim_answers_are_understood(peer: FakeHttp) -> None:
    chunks = b'5\r\n{"Mes\r\n11\r\nsageId":"id-1"}  \r\n0\r\n\r\n'
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    peer.always(Reply(head + chunks))
    provider = build("ses", OVER_HTTP["ses"](peer.url))
    assert [(await send(provider)).provider_message_id for _ in range(2)] == ["id-1", "id-1"]
    assert peer.connections == 1
    await provider.close()


async def test_a_kept_connection_that_was_closed_meanwhile_is_not_used(provider: Any, peer: FakeHttp) -> None:
    ok = OK[provider.name]
    peer.always(Reply(ok.data, then="close"))
    for _ in range(3):
        assert (await send(provider)).kind is Kind.ACCEPTED
        await asyncio.sleep(0.02)
    assert peer.connections == 3


async def test_bytes_that_nobody_asked_for_end_the_connection(provider: Any, peer: FakeHttp) -> None:
    """They might be taken for the answer to the next message."""
    ok = OK[provider.name]
    peer.always(Reply(ok.data + ok.data))
    for _ in range(2):
        assert (await send(provider)).kind is Kind.ACCEPTED
        await asyncio.sleep(0.02)
    assert peer.connections == 2


@pytest.mark.parametrize("name", sorted(OVER_HTTP))
async def test_a_refused_connection_is_unreachable(name: str) -> None:
    provider = build(name, OVER_HTTP[name](f"http://127.0.0.1:{closed_port()}"))
    outcome = await send(provider)
    assert outcome.kind is Kind.UNREACHABLE
    await provider.close()


@pytest.mark.parametrize("name", sorted(OVER_HTTP))
async def test_an_unknown_host_is_unreachable(name: str) -> None:
    provider = build(name, OVER_HTTP[name]("http://no-such-host.invalid"))
    assert (await send(provider, timeout=3.0)).kind is Kind.UNREACHABLE
    await provider.close()


@pytest.mark.parametrize("name", sorted(OVER_HTTP))
async def test_a_peer_that_never_shakes_hands_is_unreachable(name: str, peer: FakeHttp) -> None:
    provider = build(name, OVER_HTTP[name](peer.url.replace("http:", "https:")))
    assert (await send(provider)).kind is Kind.UNREACHABLE
    assert peer.received == []
    await provider.close()


@pytest.mark.parametrize("name", sorted(OVER_HTTP))
async def test_a_certificate_that_nobody_signed_is_unreachable(name: str, self_signed: tuple[Path, Path]) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*self_signed)
    fake = FakeHttp(lambda _: OK[name])
    server = await asyncio.start_server(fake.handle, "127.0.0.1", 0, ssl=context)
    provider = build(name, OVER_HTTP[name](f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    assert (await send(provider, timeout=2.0)).kind is Kind.UNREACHABLE
    assert fake.received == []
    await provider.close()
    server.close()


async def test_a_redirect_is_not_followed(provider: Any, peer: FakeHttp) -> None:
    peer.always(answer(307, Location="http://127.0.0.1:1/elsewhere"))
    outcome = await send(provider)
    assert outcome.kind in (Kind.UNSUPPORTED, Kind.UNAUTHORIZED)
    assert outcome.alert


async def test_too_many_requests_are_throttled_for_as_long_as_the_provider_says(provider: Any, peer: FakeHttp) -> None:
    peer.always(answer(429, Retry_After="7"))
    outcome = await send(provider)
    assert (outcome.kind, outcome.retry_after) == (Kind.THROTTLED, 7.0)


async def test_no_secret_and_no_content_comes_back_out(provider: Any, peer: FakeHttp) -> None:
    """Even where the provider repeats the whole request in its error."""

    def echo(request: Any) -> Reply:
        said = f"{request.headers} {request.body.decode()}".replace('"', "'").replace("\\", "")
        body = f'{{"message":"{said}","errors":[{{"message":"{said}"}}]}}'
        return answer(400, body.encode())

    peer.reply = echo
    outcome = await send(provider)
    shown = repr(outcome)
    for secret in (*SECRETS.values(), "482915", "ada@example.com", "4155550123", "4155550100"):
        assert secret not in shown


async def test_a_send_that_is_cancelled_gives_its_place_in_the_pool_back(peer: FakeHttp) -> None:
    provider = build("ses", {**OVER_HTTP["ses"](peer.url), "RELAYPOST_SES_POOL_SIZE": "1"})
    hanging = asyncio.create_task(send(provider, timeout=30.0))
    async with asyncio.timeout(5):
        while not peer.received:
            await asyncio.sleep(0.01)
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)
    peer.always(OK["ses"])
    assert (await send(provider)).kind is Kind.ACCEPTED
    await provider.close()
