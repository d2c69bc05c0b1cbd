"""Every provider that speaks HTTPS, behind a real proxy that opens tunnels."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from relaypost_server.core.breaker import BreakerPolicy, CircuitState
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.ports import CallbackUnverifiedError
from relaypost_server.event_loop import Loop
from relaypost_server.providers._http import tls_context
from relaypost_server.providers._sns_certificates import LARGEST_ANSWER, HttpFetcher
from tests.fakes.connect_proxy import OPENED, ConnectProxy, connect_proxy
from tests.fakes.http import CLOSE, FakeHttp, Reply, answer, closed_port, fake_http
from tests.fakes.providers import FakeProvider, Rig
from tests.providers.configured import OVER_HTTP, build, message_for, warmed_up
from tests.providers.test_contract import OK

pytestmark = pytest.mark.usefixtures("aws_keys")

NAMES = sorted(OVER_HTTP)
PASSWORD = "open-sesame-7391"
CREDENTIALS = f"ada:{PASSWORD}"
BASIC = "Basic " + b64encode(CREDENTIALS.encode()).decode()
HOST = "provider.invalid"
"""No resolver knows it: only the proxy can reach it."""


@pytest.fixture(autouse=True)
def trusted(self_signed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The certificate of the fakes is one of the system's, and no proxy is set but by the tests."""
    monkeypatch.setenv("SSL_CERT_FILE", str(self_signed[0]))
    for name in ("HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    tls_context.cache_clear()
    yield
    tls_context.cache_clear()


@pytest.fixture
def serving(self_signed: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*self_signed)
    return context


@pytest.fixture
async def peer(serving: ssl.SSLContext) -> AsyncIterator[FakeHttp]:
    async with fake_http(tls=serving) as fake:
        yield fake


@pytest.fixture
async def proxy(peer: FakeHttp) -> AsyncIterator[ConnectProxy]:
    async with connect_proxy(peer.port) as made:
        yield made


def behind(name: str, proxy: ConnectProxy | str, host: str = f"{HOST}:8443", **environ: str) -> Any:
    """The provider `name`, whose server has this name."""
    url = proxy if isinstance(proxy, str) else f"http://{CREDENTIALS}@127.0.0.1:{proxy.port}"
    return build(name, {**OVER_HTTP[name](f"https://{host}"), "HTTPS_PROXY": url, **environ})


async def send(provider: Any, timeout: float = 5.0) -> Outcome:
    await warmed_up(provider)
    try:
        outcome: Outcome = await provider.send(message_for(provider), timeout=timeout)
    finally:
        await provider.close()
    return outcome


@pytest.mark.parametrize("name", NAMES)
async def test_a_message_goes_through_the_tunnel_and_the_proxy_reads_none_of_it(
    name: str, proxy: ConnectProxy, peer: FakeHttp
) -> None:
    peer.always(OK[name])
    provider = behind(name, proxy)
    await warmed_up(provider)
    for _ in range(3):
        assert (await provider.send(message_for(provider), timeout=5.0)).kind is Kind.ACCEPTED
    await provider.close()
    assert (proxy.asked, proxy.authorizations) == ([f"{HOST}:8443"], [BASIC])
    assert len(peer.received) == 3
    assert {r.headers["host"] for r in peer.received} == {f"{HOST}:8443"}
    assert all("proxy-authorization" not in r.headers for r in peer.received)
    assert b"482915" not in b"".join(proxy.carried)


async def test_a_proxy_without_credentials_is_given_none(proxy: ConnectProxy, peer: FakeHttp) -> None:
    peer.always(OK["sendgrid"])
    assert (await send(behind("sendgrid", f"127.0.0.1:{proxy.port}"))).kind is Kind.ACCEPTED
    assert proxy.authorizations == [""]


async def test_the_way_to_the_proxy_may_be_encrypted_too(peer: FakeHttp, serving: ssl.SSLContext) -> None:
    peer.always(OK["sendgrid"])
    async with connect_proxy(peer.port, tls=serving) as proxy:
        provider = behind("sendgrid", f"https://{CREDENTIALS}@localhost:{proxy.port}")
        assert (await send(provider)).kind is Kind.ACCEPTED
    assert proxy.asked == [f"{HOST}:8443"]


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_tunnels_work_on_the_loop_of_a_gateway(tls: bool, serving: ssl.SSLContext) -> None:
    async def run() -> Outcome:
        async with (
            fake_http(OK["sendgrid"], tls=serving) as peer,
            connect_proxy(peer.port, tls=serving if tls else None) as proxy,
        ):
            return await send(behind("sendgrid", f"{'https' if tls else 'http'}://localhost:{proxy.port}"))

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(run()).kind is Kind.ACCEPTED


@pytest.mark.parametrize(
    ("no_proxy", "through"), [("localhost", False), (".example.com", True), ("*", False), ("localhost:1", True)]
)
async def test_exempt_hosts_are_reached_straight(
    no_proxy: str, through: bool, proxy: ConnectProxy, peer: FakeHttp
) -> None:
    peer.always(OK["sendgrid"])
    provider = behind("sendgrid", proxy, f"localhost:{peer.port}", NO_PROXY=no_proxy)
    assert (await send(provider)).kind is Kind.ACCEPTED
    assert bool(proxy.asked) is through


def refuse(status: int) -> Callable[[ConnectProxy], None]:
    def change(proxy: ConnectProxy) -> None:
        proxy.answer = f"HTTP/1.1 {status} No\r\nContent-Length: 2\r\n\r\nno".encode()

    return change


def answer_with(data: bytes) -> Callable[[ConnectProxy], None]:
    def change(proxy: ConnectProxy) -> None:
        proxy.answer = data

    return change


def hang(proxy: ConnectProxy) -> None:
    proxy.hangs = True


@pytest.mark.parametrize(
    ("trouble", "detail", "alert"),
    [
        pytest.param(refuse(407), "the proxy answered HTTP 407", True, id="407"),
        pytest.param(refuse(403), "the proxy answered HTTP 403", True, id="403"),
        pytest.param(refuse(502), "the proxy answered HTTP 502", False, id="502"),
        pytest.param(refuse(302), "the proxy answered HTTP 302", False, id="302"),
        pytest.param(answer_with(b"SSH-2.0-x\r\n\r\n"), "does not speak HTTP", False, id="not HTTP"),
        pytest.param(answer_with(b""), "closed the connection", False, id="closes"),
        pytest.param(answer_with(b"HTTP/1.1 200 OK\r\n"), "closed the connection", False, id="half an answer"),
        pytest.param(answer_with(b"x" * 20_000), "does not end", False, id="endless"),
        pytest.param(answer_with(OPENED + b"\x16\x03"), "more than its answer", False, id="speaks first"),
        pytest.param(hang, "time-out", False, id="hangs"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel_is_unreachable(
    trouble: Callable[[ConnectProxy], None], detail: str, alert: bool, proxy: ConnectProxy, peer: FakeHttp
) -> None:
    trouble(proxy)
    provider = behind("sendgrid", proxy, RELAYPOST_SENDGRID_CONNECT_TIMEOUT_SECONDS="1.0")
    outcome = await send(provider)
    assert (outcome.kind, outcome.alert) == (Kind.UNREACHABLE, alert)
    assert detail in outcome.detail
    assert peer.received == []


async def test_a_server_that_never_shakes_hands_through_the_tunnel_is_unreachable() -> None:
    async with fake_http() as mute, connect_proxy(mute.port) as proxy:
        outcome = await send(behind("sendgrid", proxy, RELAYPOST_SENDGRID_CONNECT_TIMEOUT_SECONDS="1.0"))
    assert (outcome.kind, mute.received) == (Kind.UNREACHABLE, [])


async def test_no_proxy_at_all_is_unreachable() -> None:
    outcome = await send(behind("sendgrid", f"http://127.0.0.1:{closed_port()}"))
    assert (outcome.kind, outcome.alert) == (Kind.UNREACHABLE, False)
    assert "no connection to the proxy" in outcome.detail


async def test_the_circuit_opens_as_usual_and_the_next_provider_is_asked(proxy: ConnectProxy) -> None:
    refuse(502)(proxy)
    provider = behind("sendgrid", proxy)
    rig = Rig([provider, FakeProvider("b")], policy=BreakerPolicy(jitter=0.0))
    for _ in range(6):
        delivery = await rig.dispatcher.deliver(message_for(provider), caller=rig.caller(10.0))
        assert delivery.accepted is not None
    assert rig.chain["sendgrid"].health().circuit_state is CircuitState.OPEN
    assert len(proxy.asked) == 5
    await provider.close()


async def test_a_certificate_that_is_not_the_providers_is_refused_through_the_tunnel(
    proxy: ConnectProxy, peer: FakeHttp
) -> None:
    """The proxy leads elsewhere: the name that the gateway asked for is not in the certificate."""
    outcome = await send(behind("sendgrid", proxy, "another.invalid"))
    assert (outcome.kind, peer.received) == (Kind.UNREACHABLE, [])
    assert proxy.asked == ["another.invalid:443"]
    assert "SSLCertVerificationError" in outcome.detail


async def test_a_proxy_in_the_middle_with_a_certificate_of_its_own_is_refused(
    proxy: ConnectProxy, peer: FakeHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    tls_context.cache_clear()
    outcome = await send(behind("sendgrid", proxy))
    assert (outcome.kind, peer.received) == (Kind.UNREACHABLE, [])


@pytest.mark.parametrize("name", NAMES)
async def test_no_log_line_outcome_or_object_shows_the_proxys_password(name: str, proxy: ConnectProxy) -> None:
    refuse(407)(proxy)
    provider = behind(name, proxy)
    with capture_logs() as lines:
        outcome = await send(provider)
    shown = f"{outcome!r} {lines!r} {provider._settings!r} {vars(provider)!r}"
    assert PASSWORD not in shown
    assert BASIC not in shown


@pytest.mark.parametrize("name", NAMES)
async def test_the_vendors_sdks_take_the_same_way(
    name: str, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They read the environment themselves, which is where the settings come from."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://{CREDENTIALS}@127.0.0.1:{proxy.port}")
    refuse(502)(proxy)
    provider = behind(name, proxy)
    await provider.check()
    assert proxy.asked
    assert set(proxy.asked) == {f"{HOST}:8443"}
    assert set(proxy.authorizations) == {BASIC}
    proxy.asked.clear()
    monkeypatch.setenv("NO_PROXY", HOST)
    await provider.check()
    assert proxy.asked == []
    await provider.close()


@pytest.fixture
def fetching(proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., HttpFetcher]:
    """Of SES, which has a password for SNS's host in its user's ~/.netrc."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {HOST} login ada password {PASSWORD}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    return lambda **environ: HttpFetcher(behind("ses", proxy, **environ)._settings)


async def test_certificates_of_sns_are_fetched_the_same_way(
    fetching: Callable[..., HttpFetcher], proxy: ConnectProxy, peer: FakeHttp
) -> None:
    peer.always(answer(200, b"a certificate"))
    assert await fetching().fetch(f"https://{HOST}:8443/x.pem?a=b") == b"a certificate"
    assert (proxy.asked, proxy.authorizations) == ([f"{HOST}:8443"], [BASIC])
    [request] = peer.received
    assert request.line == "GET /x.pem?a=b HTTP/1.1"
    assert "authorization" not in request.headers
    assert "proxy-authorization" not in request.headers


async def test_certificates_of_an_exempt_host_are_fetched_straight(
    fetching: Callable[..., HttpFetcher], proxy: ConnectProxy, peer: FakeHttp
) -> None:
    peer.always(answer(200, b"a certificate"))
    fetcher = fetching(NO_PROXY="localhost")
    assert await fetcher.fetch(f"https://localhost:{peer.port}/x.pem") == b"a certificate"
    assert proxy.asked == []


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (answer(404), "HTTP 404"),
        (answer(302, Location="https://elsewhere.invalid/"), "HTTP 302"),
        (answer(200, b"x" * (LARGEST_ANSWER + 1)), "larger than"),
        (CLOSE, "ConnectionResetError"),
    ],
)
async def test_what_is_no_certificate_of_sns_verifies_nothing(
    fetching: Callable[..., HttpFetcher], peer: FakeHttp, reply: Reply, why: str
) -> None:
    peer.always(reply)
    with pytest.raises(CallbackUnverifiedError, match=why):
        await fetching().fetch(f"https://{HOST}:8443/x.pem")
    assert len(peer.received) == 1


async def test_without_the_proxy_no_certificate_of_sns_is_fetched(
    fetching: Callable[..., HttpFetcher], proxy: ConnectProxy, peer: FakeHttp
) -> None:
    refuse(502)(proxy)
    with pytest.raises(CallbackUnverifiedError):
        await fetching().fetch(f"https://{HOST}:8443/x.pem")
    assert peer.received == []
