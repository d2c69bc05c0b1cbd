"""Logging in by XOAUTH2, at a server that answers as it is told, over TLS."""

import base64
import json
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relaypost_server.core.outcome import Effect, Kind, Outcome
from relaypost_server.core.ports import Level
from relaypost_server.providers.smtp import Smtp
from tests import messages
from tests.fakes.http import FakeHttp, Reply, Request, answer, fake_http
from tests.fakes.smtp import BREAK_OFF, Dialogue, FakeSmtp, fake_smtp_over_tls
from tests.providers.configured import build

USER = "gateway@example.com"
OFFERED = "250-fake\r\n250 AUTH LOGIN XOAUTH2"
REFUSED = "535 5.7.3 Authentication unsuccessful"
SECRET = "the-applications-secret"


def issued(number: int, seconds: int = 3600) -> Reply:
    return answer(200, json.dumps({"access_token": f"token-{number}", "expires_in": seconds}).encode())


@pytest.fixture
async def endpoint() -> AsyncIterator[FakeHttp]:
    """Numbers its tokens."""
    async with fake_http() as fake:

        def issue(_: Request) -> Reply:
            return issued(len(fake.received))

        fake.reply = issue
        yield fake


@pytest.fixture
def accepting(self_signed: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*self_signed)
    return context


@pytest.fixture
async def peer(accepting: ssl.SSLContext) -> AsyncIterator[FakeSmtp]:
    async with fake_smtp_over_tls(accepting, EHLO=OFFERED, AUTH="235 2.7.0 Accepted") as fake:
        yield fake


@pytest.fixture
def server(peer: FakeSmtp, self_signed: tuple[Path, Path]) -> dict[str, str]:
    return {
        "SMTP_HOST": "localhost",
        "SMTP_PORT": str(peer.port),
        "SMTP_USER": USER,
        "RELAYPOST_SMTP_TLS": "implicit",
        "RELAYPOST_SMTP_CA_FILE": str(self_signed[0]),
        "RELAYPOST_SMTP_CONNECT_TIMEOUT_SECONDS": "10",
    }


@pytest.fixture
async def smtp(server: dict[str, str], endpoint: FakeHttp) -> AsyncIterator[Smtp]:
    flow = {
        "RELAYPOST_SMTP_OAUTH_TOKEN_URL": f"{endpoint.url}/token",
        "RELAYPOST_SMTP_OAUTH_CLIENT_ID": "the-id",
        "RELAYPOST_SMTP_OAUTH_CLIENT_SECRET": SECRET,
        "RELAYPOST_SMTP_IDLE_SECONDS": "0.000001",  # A new connection for each message.
    }
    provider: Smtp = build("smtp", server | flow)
    yield provider
    await provider.close()


async def send(smtp: Smtp) -> Outcome:
    return await smtp.send(messages.email(), timeout=20.0)


def logged_in_with(peer: FakeSmtp) -> list[str]:
    """The tokens that were given to the server."""
    given = [base64.b64decode(line.split()[2]).decode() for line in peer.lines if line.startswith("AUTH XOAUTH2")]
    assert all(text.startswith(f"user={USER}\1auth=Bearer ") and text.endswith("\1\1") for text in given)
    return [text.removeprefix(f"user={USER}\1auth=Bearer ").rstrip("\1") for text in given]


def refuses(peer: FakeSmtp, *tokens: str, reply: str = REFUSED) -> None:
    def decide(dialogue: Dialogue) -> str | None:
        if not dialogue.line.startswith("AUTH"):
            return None
        given = base64.b64decode(dialogue.line.split()[2]).decode()
        return reply if any(f" {token}\1" in given for token in tokens) else None

    peer.decide = decide


async def test_a_token_is_fetched_once_for_many_connections(smtp: Smtp, peer: FakeSmtp, endpoint: FakeHttp) -> None:
    assert [(await send(smtp)).kind for _ in range(3)] == [Kind.ACCEPTED] * 3
    assert logged_in_with(peer) == ["token-1"] * 3
    assert len(endpoint.received) == 1


async def test_a_kept_token_that_is_refused_is_renewed_once(smtp: Smtp, peer: FakeSmtp, endpoint: FakeHttp) -> None:
    await send(smtp)
    refuses(peer, "token-1")
    assert (await send(smtp)).kind is Kind.ACCEPTED
    assert logged_in_with(peer) == ["token-1", "token-1", "token-2"]
    refuses(peer, "token-2", "token-3")
    outcome = await send(smtp)
    assert (outcome.kind, outcome.effect, outcome.alert) == (Kind.UNAUTHORIZED, Effect.ACCOUNT_FAULT, True)
    assert logged_in_with(peer)[3:] == ["token-2", "token-3"]
    assert len(endpoint.received) == 3


async def test_a_fresh_token_that_is_refused_is_not_renewed(smtp: Smtp, peer: FakeSmtp, endpoint: FakeHttp) -> None:
    refuses(peer, "token-1")
    outcome = await send(smtp)
    assert (outcome.kind, outcome.provider_code, len(endpoint.received)) == (Kind.UNAUTHORIZED, "535 5.7.3", 1)
    assert "the token is refused: check its scope" in outcome.detail


async def test_an_error_challenge_is_answered_with_an_empty_line(smtp: Smtp, peer: FakeSmtp) -> None:
    refuses(peer, "token-1", reply="334 eyJzdGF0dXMiOiI0MDEifQ==")
    peer.replies[""] = REFUSED
    outcome = await send(smtp)
    assert (outcome.kind, outcome.provider_code) == (Kind.UNAUTHORIZED, "535 5.7.3")
    assert peer.commands[-2:] == ["AUTH", ""]


async def test_passwords_that_are_switched_off_are_told_with_the_cure(server: dict[str, str], peer: FakeSmtp) -> None:
    peer.replies["AUTH"] = "535 5.7.139 Authentication unsuccessful, basic authentication is disabled."
    smtp: Smtp = build("smtp", server | {"SMTP_PASSWORD": "correct-horse"})
    outcome = await send(smtp)
    await smtp.close()
    assert (outcome.kind, outcome.alert) == (Kind.UNAUTHORIZED, True)
    assert "XOAUTH2" in outcome.detail


async def test_a_server_without_xoauth2_gets_no_token(smtp: Smtp, peer: FakeSmtp) -> None:
    peer.replies["EHLO"] = "250-fake\r\n250 AUTH LOGIN PLAIN"
    outcome = await send(smtp)
    assert (outcome.kind, outcome.alert) == (Kind.UNAUTHORIZED, True)
    assert "XOAUTH2" in outcome.detail
    assert "AUTH" not in peer.commands


@pytest.mark.parametrize(
    ("reply", "kind", "detail"),
    [
        (answer(401, b'{"error": "invalid_client"}'), Kind.UNAUTHORIZED, "RELAYPOST_SMTP_OAUTH_CLIENT_ID"),
        (answer(503), Kind.UNREACHABLE, "HTTP 503"),
    ],
)
async def test_without_a_token_the_server_is_not_asked(
    smtp: Smtp, peer: FakeSmtp, endpoint: FakeHttp, reply: Reply, kind: Kind, detail: str
) -> None:
    endpoint.always(reply)
    outcome = await send(smtp)
    assert (outcome.kind, outcome.alert, peer.connections) == (kind, True, 0)
    assert detail in outcome.detail
    [finding] = await smtp.check()
    assert finding.level is Level.FAILURE


async def test_a_connection_lost_during_log_in_is_no_answer_about_it(smtp: Smtp, peer: FakeSmtp) -> None:
    peer.replies["AUTH"] = BREAK_OFF
    assert (await send(smtp)).kind is Kind.UNREACHABLE
    peer.replies["AUTH"] = "421 4.3.2 closing"
    assert (await send(smtp)).kind is Kind.UNREACHABLE


async def test_neither_secret_nor_token_comes_back_out(
    smtp: Smtp, peer: FakeSmtp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    outcomes = [await send(smtp)]
    refuses(peer, "token-1", "token-2", reply=f"535 5.7.8 no token-1 {SECRET}")
    outcomes.append(await send(smtp))
    shown = caplog.text + repr(vars(smtp)) + outcomes[0].detail + outcomes[1].detail + repr(await smtp.check())
    assert SECRET not in shown.replace(f"no token-1 {SECRET}", "")
    assert "token-2" not in shown


async def test_doctor_tells_the_way_that_is_used(
    smtp: Smtp, server: dict[str, str], tmp_path: Path, peer: FakeSmtp
) -> None:
    (tmp_path / "token").write_text("token-of-the-file")
    ways = {
        "log-in by XOAUTH2 (a token from a file)": {"RELAYPOST_SMTP_OAUTH_TOKEN_FILE": str(tmp_path / "token")},
        "log-in by XOAUTH2 (a token of a command)": {"RELAYPOST_SMTP_OAUTH_TOKEN_COMMAND": "echo token-of-the-command"},
        "log-in with a password": {"SMTP_PASSWORD": "correct-horse"},
        "no log-in": {"SMTP_USER": ""},
    }
    [finding] = await smtp.check()
    assert finding.detail == "connected, TLS implicit, log-in by XOAUTH2 (client credentials)"
    for way, environ in ways.items():
        peer.replies["EHLO"] = OFFERED if "XOAUTH2" in way else "250-fake\r\n250 AUTH PLAIN"
        provider: Smtp = build("smtp", server | environ)
        [finding] = await provider.check()
        await provider.close()
        assert (finding.level, finding.detail) == (Level.OK, f"connected, TLS implicit, {way}")
    assert logged_in_with(peer) == ["token-1", "token-of-the-file", "token-of-the-command"]


async def test_a_certificate_may_bear_another_name_than_the_host(
    server: dict[str, str], accepting: ssl.SSLContext
) -> None:
    async with fake_smtp_over_tls(accepting, host="127.0.0.2") as peer:
        by_address = server | {"SMTP_HOST": "127.0.0.2", "SMTP_PORT": str(peer.port), "SMTP_USER": ""}
        refused: Smtp = build("smtp", by_address)
        assert (await send(refused)).kind is Kind.UNREACHABLE
        await refused.close()
        named: Smtp = build("smtp", by_address | {"RELAYPOST_SMTP_TLS_SERVER_NAME": "localhost"})
        outcome = await send(named)
        await named.close()
    assert outcome.kind is Kind.ACCEPTED, outcome
