"""SMTP against a real Postfix, a real smtp-sink, and a server that breaks off at will."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from relaypost_server.core.message import Address, Email, Message
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.ports import Level
from tests import messages, peers
from tests.fakes.http import closed_port
from tests.fakes.smtp import BREAK_OFF, HANG, fake_smtp
from tests.postfix import Postfix, postfix
from tests.providers.configured import SECRETS, build

PLAIN = {"SMTP_HOST": "127.0.0.1", "RELAYPOST_SMTP_TLS": "none"}


async def send(message: Message[Email], environ: Mapping[str, str], *, timeout: float = 5.0) -> Outcome:
    provider = build("smtp", {"SMTP_HOST": "localhost", **environ})
    try:
        outcome: Outcome = await provider.send(message, timeout=timeout)
        return outcome
    finally:
        await provider.close()


def to(*addresses: str, **changes: Any) -> Message[Email]:
    return messages.email(to=tuple(Address(email=a) for a in addresses), **changes)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, self_signed: tuple[Path, Path]) -> Iterator[Postfix]:
    with postfix(tmp_path_factory.mktemp("postfix"), *self_signed) as running:
        yield running


@pytest.fixture
def trusting(server: Postfix, self_signed: tuple[Path, Path]) -> dict[str, str]:
    """Settings for a STARTTLS connection to the Postfix whose certificate is trusted."""
    return {"SMTP_PORT": str(server.port), "RELAYPOST_SMTP_CA_FILE": str(self_signed[0])}


async def delivered(server: Postfix, name: str, count: int) -> list[Any]:
    async with asyncio.timeout(15):
        while len(found := server.mailbox(name)) < count:
            await asyncio.sleep(0.05)
    return found


async def test_postfix_delivers_an_email_with_everything_in_it(server: Postfix, trusting: dict[str, str]) -> None:
    outcome = await send(messages.full_email(), trusting)
    assert outcome.kind is Kind.ACCEPTED, outcome
    assert re.fullmatch("[0-9A-F]{6,}", outcome.provider_message_id), "the queue id"
    for name in ("ada", "grace", "alan"):
        message = (await delivered(server, name, 1))[0]
        assert message["From"] == "Example <noreply@example.com>"
        assert message["To"] == "Ada <ada@example.com>"
        assert message["Cc"] == "grace@example.com"
        assert message["Bcc"] is None
        assert message["Reply-To"] == "Hélp <help@example.com>"
        assert message["Subject"] == "Your code"
        assert message["Message-ID"] == f"<{messages.ID}@example.com>"
        assert message["X-Relaypost-Message-Id"] == messages.ID
        assert message["X-Relaypost-Tag-purpose"] == "signup"
        assert message["List-Unsubscribe"] == "<https://example.com/u?a=1>"
        assert message.get_body(("plain",)).get_content().strip() == "Your code is 482915"
        assert "cid:logo" in message.get_body(("html",)).get_content()
        files = {p.get_filename(): p.get_content() for p in message.walk() if p.get_filename()}
        assert files == {"terms.pdf": b"%PDF-1.7 terms", "logo.png": b"\x89PNG logo"}
        (logo,) = (p for p in message.walk() if p.get_filename() == "logo.png")
        assert (logo["Content-ID"], logo.get_content_disposition()) == ("<logo>", "inline")


async def test_postfix_refuses_some_recipients_and_takes_the_others(server: Postfix, trusting: dict[str, str]) -> None:
    before = len(server.mailbox("ada"))
    message = to("ada@example.com", "nobody@example.com", "full@example.com")
    outcome = await send(message, trusting)
    assert outcome.kind is Kind.ACCEPTED
    refused = {r.address: (r.provider_code, r.temporary) for r in outcome.refused}
    assert refused == {"nobody@example.com": ("550 5.1.1", False), "full@example.com": ("452 4.2.2", True)}
    await delivered(server, "ada", before + 1)


@pytest.mark.parametrize(
    ("recipients", "kind", "code"),
    [
        (["nobody@example.com"], Kind.REJECTED, "550 5.1.1"),
        (["nobody@example.com", "no-one@example.com"], Kind.REJECTED, "550 5.1.1"),
        (["nobody@example.com", "busy@example.com"], Kind.DEFERRED, "450 4.2.0"),
        (["ada@example.org"], Kind.UNSUPPORTED, "554 5.7.1"),
    ],
)
async def test_postfix_refuses_all_recipients(
    trusting: dict[str, str], recipients: list[str], kind: Kind, code: str
) -> None:
    outcome = await send(to(*recipients), trusting)
    assert (outcome.kind, outcome.provider_code) == (kind, code)
    assert "nobody" not in outcome.detail


async def test_postfix_refuses_a_message_that_is_too_large(trusting: dict[str, str]) -> None:
    outcome = await send(to("ada@example.com", text="x" * 300_000), trusting)
    assert (outcome.kind, outcome.provider_code) == (Kind.UNSUPPORTED, "552 5.3.4")


async def test_postfix_takes_ten_recipients_four_at_a_time(server: Postfix, trusting: dict[str, str]) -> None:
    people = [f"p{number}@example.com" for number in range(10)]
    outcome = await send(to(*people, "nobody@example.com"), trusting, timeout=10.0)
    assert (outcome.kind, [r.address for r in outcome.refused]) == (Kind.ACCEPTED, ["nobody@example.com"])
    assert (outcome.gone, len(set(outcome.provider_message_id.split(",")))) == (("nobody@example.com",), 3)
    for name in people:
        assert len(await delivered(server, name.split("@")[0], 1)) == 1


async def test_postfix_takes_addresses_beyond_ascii(server: Postfix, trusting: dict[str, str]) -> None:
    outcome = await send(to("josé@example.com", "ada@example.com", envelope_sender="bounce+josé@example.org"), trusting)
    assert outcome.kind is Kind.ACCEPTED, outcome
    [message] = await delivered(server, "jose", 1)
    assert message["Return-Path"] == "<bounce+josé@example.org>"
    assert [a.addr_spec for a in message["To"].addresses] == ["josé@example.com", "ada@example.com"]
    assert message["From"] == "Example <noreply@example.com>"


async def test_a_certificate_that_is_not_trusted_ends_before_anything_is_said(server: Postfix) -> None:
    before = len(server.mailbox("ada"))
    outcome = await send(to("ada@example.com"), {"SMTP_PORT": str(server.port)})
    assert outcome.kind is Kind.UNREACHABLE
    await asyncio.sleep(0.2)
    assert len(server.mailbox("ada")) == before


async def test_a_certificate_for_another_host_is_not_trusted(trusting: dict[str, str]) -> None:
    outcome = await send(to("ada@example.com"), {**trusting, "SMTP_HOST": "localhost.localdomain"})
    assert outcome.kind is Kind.UNREACHABLE


async def test_connections_to_postfix_are_kept(server: Postfix, trusting: dict[str, str]) -> None:
    provider = build("smtp", {"SMTP_HOST": "localhost", **trusting})
    for _ in range(5):
        assert (await provider.send(to("ada@example.com"), timeout=5.0)).kind is Kind.ACCEPTED
    (finding,) = await provider.check()
    await provider.close()
    assert finding.level is Level.OK
    log = (server.folder / "mail.log").read_text()
    last = [line for line in log.splitlines() if "smtpd[" in line and " connect from" in line]
    assert last
    assert len(provider._pool._idle) == 0


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (["-f", "MAIL"], Kind.UNSUPPORTED),
        (["-r", "MAIL"], Kind.FAULTED),
        (["-f", "RCPT"], Kind.UNSUPPORTED),
        (["-r", "RCPT"], Kind.FAULTED),
        (["-f", "DATA"], Kind.UNSUPPORTED),
        (["-r", "DATA"], Kind.FAULTED),
        (["-f", "."], Kind.UNSUPPORTED),
        (["-r", "."], Kind.FAULTED),
        (["-q", "MAIL"], Kind.UNREACHABLE),
        (["-q", "DATA"], Kind.UNREACHABLE),
        (["-q", "."], Kind.UNCONFIRMED),
        (["-Q", "MAIL"], Kind.UNREACHABLE),
        (["-Q", "CONNECT"], Kind.UNREACHABLE),
    ],
)
async def test_smtp_sink_fails_at_each_step(options: list[str], kind: Kind, tmp_path: Path) -> None:
    port = peers.free_port()
    command = [peers.program("smtp-sink"), "-u", "nobody", *options, f"127.0.0.1:{port}", "100"]
    with peers.running(command, port=port, log=tmp_path / "sink.log"):
        outcome = await send(to("ada@example.com"), {**PLAIN, "SMTP_PORT": str(port)})
    assert outcome.kind is kind


@pytest.mark.parametrize(
    ("replies", "kind", "received"),
    [
        ({"greeting": BREAK_OFF}, Kind.UNREACHABLE, 0),
        ({"greeting": "554 5.3.2 go away"}, Kind.UNREACHABLE, 0),
        ({"greeting": HANG}, Kind.UNREACHABLE, 0),
        ({"greeting": "garbage"}, Kind.UNREACHABLE, 0),
        ({"EHLO": HANG}, Kind.UNREACHABLE, 0),
        ({"MAIL": HANG}, Kind.UNREACHABLE, 0),
        ({"RCPT": HANG}, Kind.UNREACHABLE, 0),
        ({"RCPT": "421 4.3.2 closing"}, Kind.UNREACHABLE, 0),
        ({"DATA": HANG}, Kind.UNREACHABLE, 0),
        ({"DATA": "451 4.3.0 later"}, Kind.FAULTED, 0),
        ({"DOT": HANG}, Kind.UNCONFIRMED, 1),
        ({"DOT": BREAK_OFF}, Kind.UNCONFIRMED, 1),
        ({"DOT": "garbage"}, Kind.UNCONFIRMED, 1),
        ({"DOT": "550 5.7.1 spam"}, Kind.UNSUPPORTED, 1),
        ({"DOT": "451 4.3.0 later"}, Kind.FAULTED, 1),
        ({"DOT": "421 4.3.2 closing"}, Kind.FAULTED, 1),
        ({"MAIL": "530 5.7.0 authentication required"}, Kind.UNAUTHORIZED, 0),
        ({"MAIL": "552 5.3.4 too large"}, Kind.UNSUPPORTED, 0),
        ({"MAIL": "550 5.1.8 sender unknown"}, Kind.UNSUPPORTED, 0),
        ({"RCPT": "530 5.7.0 authentication required"}, Kind.UNAUTHORIZED, 0),
    ],
)
async def test_only_the_final_dot_makes_a_loss_uncertain(replies: dict[str, str], kind: Kind, received: int) -> None:
    async with fake_smtp(**replies) as fake:
        outcome = await send(to("ada@example.com"), {**PLAIN, "SMTP_PORT": str(fake.port)}, timeout=0.4)
    assert outcome.kind is kind
    assert len(fake.received) == received


async def test_a_refused_connection_is_unreachable() -> None:
    outcome = await send(to("ada@example.com"), {**PLAIN, "SMTP_PORT": str(closed_port())})
    assert outcome.kind is Kind.UNREACHABLE


async def test_no_starttls_means_no_message() -> None:
    """Not even where the server would take it in the clear."""
    async with fake_smtp() as fake:
        outcome = await send(to("ada@example.com"), {"SMTP_PORT": str(fake.port)})
    assert outcome.kind is Kind.UNREACHABLE
    assert fake.received == []


async def test_a_connection_that_died_while_it_was_kept_is_replaced() -> None:
    async with fake_smtp() as fake:
        provider = build("smtp", {**PLAIN, "SMTP_PORT": str(fake.port)})
        assert (await provider.send(messages.email(), timeout=5.0)).kind is Kind.ACCEPTED
        fake.replies["RSET"] = BREAK_OFF
        assert (await provider.send(messages.email(), timeout=5.0)).kind is Kind.ACCEPTED
        await provider.close()
    assert fake.connections == 2


async def test_a_refusal_does_not_cost_the_connection() -> None:
    async with fake_smtp(RCPT="550 5.1.1 unknown") as fake:
        provider = build("smtp", {**PLAIN, "SMTP_PORT": str(fake.port)})
        for _ in range(3):
            assert (await provider.send(messages.email(), timeout=5.0)).kind is Kind.REJECTED
        await provider.close()
    assert fake.connections == 1


async def test_many_messages_at_once_use_at_most_the_pool() -> None:
    async with fake_smtp() as fake:
        provider = build("smtp", {**PLAIN, "SMTP_PORT": str(fake.port), "RELAYPOST_SMTP_POOL_SIZE": "3"})
        outcomes = await asyncio.gather(*(provider.send(messages.email(), timeout=5.0) for _ in range(30)))
        await provider.close()
    assert {o.kind for o in outcomes} == {Kind.ACCEPTED}
    assert fake.connections <= 3
    assert len(fake.received) == 30


@pytest.mark.parametrize("text", [".", "..", ".\r\n.\r\n", "a\n.\nb", "\n.\n", ".hidden", "x\r.\ry"])
async def test_dots_end_no_message_early(text: str) -> None:
    async with fake_smtp() as fake:
        provider = build("smtp", {**PLAIN, "SMTP_PORT": str(fake.port)})
        for _ in range(2):
            assert (await provider.send(messages.email(text=text), timeout=5.0)).kind is Kind.ACCEPTED
        await provider.close()
    assert len(fake.received) == 2


class Authenticator:
    """Lets one user in."""

    def __call__(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        good = data.login == b"relay" and data.password == SECRETS["SMTP_PASSWORD"].encode()
        return AuthResult(success=good, handled=False)


@pytest.mark.parametrize(("user", "kind"), [("relay", Kind.ACCEPTED), ("stranger", Kind.UNAUTHORIZED)])
async def test_logging_in(user: str, kind: Kind, self_signed: tuple[Path, Path]) -> None:
    import ssl

    class Sink:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            return "250 OK"

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*self_signed)
    controller = Controller(
        Sink(),
        hostname="127.0.0.1",
        port=peers.free_port(),
        tls_context=context,
        authenticator=Authenticator(),
        auth_required=True,
    )
    controller.start()
    try:
        environ = {
            "SMTP_PORT": str(controller.port),
            "SMTP_USER": user,
            "SMTP_PASSWORD": SECRETS["SMTP_PASSWORD"],
            "RELAYPOST_SMTP_CA_FILE": str(self_signed[0]),
        }
        outcome = await send(messages.email(), environ)
    finally:
        controller.stop()
    assert outcome.kind is kind, outcome
    assert SECRETS["SMTP_PASSWORD"] not in repr(outcome)
