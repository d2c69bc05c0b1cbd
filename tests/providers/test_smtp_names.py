"""The name that EHLO gives."""

import asyncio
import socket
from typing import Any

import pytest

from relaypost_server.core.outcome import Kind
from relaypost_server.providers import _smtp_names
from relaypost_server.providers._smtp_names import address_literal, full_name, is_full_name
from tests import messages
from tests.fakes.smtp import FakeSmtp, fake_smtp
from tests.providers.configured import build


@pytest.mark.parametrize(
    ("address", "literal"),
    [
        ("192.0.2.1", "[192.0.2.1]"),
        ("2001:db8::1", "[IPv6:2001:db8::1]"),
        ("fe80::1%eth0", "[IPv6:fe80::1]"),
        ("::ffff:192.0.2.1", "[192.0.2.1]"),
    ],
)
def test_an_address_literal(address: str, literal: str) -> None:
    assert address_literal(address) == literal


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("mail.example.com", True),
        ("relaypost-0.relaypost.default.svc.cluster.local", True),
        ("4f1a2b3c5d6e", False),
        ("vm", False),
        ("localhost", False),
        ("localhost.localdomain", False),
        ("127.0.0.1", False),
        ("under_score.example.com", False),
        ("", False),
    ],
)
def test_a_full_name_has_a_domain(name: str, full: bool) -> None:
    assert is_full_name(name) is full


async def test_a_host_may_have_its_full_name_in_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        if host == "nowhere":
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, f"{host}.example.com", ("192.0.2.1", 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    assert await full_name("web-1") == "web-1.example.com"
    assert await full_name("nowhere") == ""


async def greeted(peer: FakeSmtp, **settings: str) -> str:
    provider = build("smtp", {"RELAYPOST_SMTP_TLS": "none", "SMTP_PORT": str(peer.port)} | settings)
    assert (await provider.send(messages.email(), timeout=6.0)).kind is Kind.ACCEPTED
    await provider.close()
    return next(line for line in peer.lines if line.startswith("EHLO"))


async def test_a_host_without_a_full_name_gives_the_address_it_connects_from(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(host: str) -> str:
        return ""

    monkeypatch.setattr(_smtp_names, "full_name", nothing)
    async with fake_smtp() as peer:
        assert await greeted(peer, SMTP_HOST="127.0.0.1") == "EHLO [127.0.0.1]"


async def test_the_settings_may_name_it() -> None:
    async with fake_smtp() as peer:
        name = {"RELAYPOST_SMTP_LOCAL_HOSTNAME": "mail.example.com"}
        assert await greeted(peer, SMTP_HOST="127.0.0.1", **name) == "EHLO mail.example.com"


async def test_a_server_that_refuses_the_name_is_no_reason_to_give_up() -> None:
    async with fake_smtp(EHLO="504 5.5.2 Helo command rejected: need fully-qualified hostname") as peer:
        provider = build("smtp", {"SMTP_HOST": "127.0.0.1", "RELAYPOST_SMTP_TLS": "none", "SMTP_PORT": str(peer.port)})
        outcome = await provider.send(messages.email(), timeout=6.0)
        await provider.close()
    assert (outcome.kind, outcome.alert) == (Kind.UNSUPPORTED, True)
    assert "RELAYPOST_SMTP_LOCAL_HOSTNAME" in outcome.detail
