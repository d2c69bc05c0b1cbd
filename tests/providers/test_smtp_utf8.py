"""Addresses, headers and content beyond ASCII over SMTP (RFC 6531, RFC 6532, RFC 6152)."""

from email import message_from_string, policy
from typing import Any

import pytest

from relaypost_server.addresses.emails import parse_email
from relaypost_server.core.message import Address
from relaypost_server.core.outcome import Effect, Kind, Outcome
from tests import messages
from tests.fakes.smtp import FakeSmtp, fake_smtp
from tests.providers.configured import build

WITH_UTF8 = "250-fake\r\n250-8BITMIME\r\n250 SMTPUTF8"
JOSE = Address(email="josé@example.com", name="José, of Spain")


async def send(peer: FakeSmtp, **changes: Any) -> Outcome:
    provider = build("smtp", {"SMTP_HOST": "127.0.0.1", "RELAYPOST_SMTP_TLS": "none", "SMTP_PORT": str(peer.port)})
    outcome: Outcome = await provider.send(messages.email(**changes), timeout=6.0)
    await provider.close()
    return outcome


async def test_an_address_beyond_ascii_is_sent_where_the_server_takes_it() -> None:
    async with fake_smtp(EHLO=WITH_UTF8) as peer:
        assert (await send(peer, to=(JOSE,))).kind is Kind.ACCEPTED
    mail, rcpt = peer.envelopes[0]
    assert mail == "MAIL FROM:<noreply@example.com> BODY=8BITMIME SMTPUTF8"
    assert rcpt == "RCPT TO:<josé@example.com>"
    (to,) = message_from_string(peer.received[0].decode(), policy=policy.SMTPUTF8)["To"].addresses
    assert (to.addr_spec, to.display_name) == ("josé@example.com", "José, of Spain")
    assert b"<jos\xc3\xa9@example.com>" in peer.received[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"to": (JOSE,)},
        {"bcc": (JOSE,)},
        {"reply_to": (JOSE,)},
        {"envelope_sender": JOSE.email},
        {"sender": JOSE},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_where_the_server_does_not_another_provider_is_asked(changes: dict[str, Any]) -> None:
    async with fake_smtp(EHLO="250-fake\r\n250 8BITMIME") as peer:
        outcome = await send(peer, **changes)
    assert (outcome.kind, outcome.alert, outcome.effect) == (Kind.UNSUPPORTED, False, Effect.NEUTRAL)
    assert "SMTPUTF8" in outcome.detail
    assert "MAIL" not in peer.commands


async def test_a_message_that_needs_no_extension_asks_for_none() -> None:
    async with fake_smtp(EHLO=WITH_UTF8) as peer:
        people = (Address(email="ada@example.com", name="日本語"),)
        assert (await send(peer, to=people, subject="Société", text="Größe")).kind is Kind.ACCEPTED
    assert peer.envelopes[0][0] == "MAIL FROM:<noreply@example.com>"
    assert peer.received[0].isascii()


async def test_many_addresses_beyond_ascii_fit_into_lines() -> None:
    people = tuple(Address(email=f"josé{n}@example.com", name=f"Doe, José {n}") for n in range(50))
    async with fake_smtp(EHLO=WITH_UTF8) as peer:
        assert (await send(peer, to=people)).kind is Kind.ACCEPTED
    assert max(map(len, peer.received[0].split(b"\r\n"))) <= 998
    found = message_from_string(peer.received[0].decode(), policy=policy.SMTPUTF8)["To"].addresses
    assert [a.addr_spec for a in found] == [a.email for a in people]


async def test_an_old_japanese_address_is_quoted_in_the_envelope() -> None:
    people = (Address(email=parse_email("a..b@docomo.ne.jp")),)
    async with fake_smtp() as peer:
        assert (await send(peer, to=people, envelope_sender=parse_email("c.@docomo.ne.jp"))).kind is Kind.ACCEPTED
    mail, rcpt = peer.envelopes[0]
    assert mail == 'MAIL FROM:<"c."@docomo.ne.jp> SIZE=' + mail.partition("SIZE=")[2]
    assert rcpt == 'RCPT TO:<"a..b"@docomo.ne.jp>'
