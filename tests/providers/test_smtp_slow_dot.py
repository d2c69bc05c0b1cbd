"""Servers that take their time to answer the final dot: they may check a message for a while before they take it."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from relaypost_server.core.outcome import Kind
from relaypost_server.providers._smtp_settings import SmtpSettings
from tests import messages
from tests.fakes.smtp import FakeSmtp, fake_smtp
from tests.providers.configured import build

Skip = Callable[[float], None]


@pytest.fixture
async def skip(monkeypatch: pytest.MonkeyPatch) -> Skip:
    """Puts the event loop's clock forward, so that its timers are due earlier."""
    loop = asyncio.get_running_loop()
    real, skipped = loop.time, [0.0]
    monkeypatch.setattr(loop, "time", lambda: real() + sum(skipped))
    return skipped.append


@pytest.fixture
async def peer() -> AsyncIterator[FakeSmtp]:
    """Answers the dot once its event is set."""
    async with fake_smtp() as fake:
        fake.held["."] = asyncio.Event()
        yield fake


def test_an_attempt_gets_thirty_seconds_by_default() -> None:
    assert SmtpSettings.model_validate({}).timeout_seconds == 30.0


@pytest.mark.parametrize(
    ("timeout", "answered_after", "kind"),
    [
        (30.0, 25.0, Kind.ACCEPTED),
        (30.0, 32.0, Kind.UNCONFIRMED),
        (10.0, 7.0, Kind.ACCEPTED),
        (10.0, 12.0, Kind.UNCONFIRMED),
    ],
)
async def test_the_reply_to_the_dot_has_the_whole_time_of_the_attempt(
    skip: Skip, peer: FakeSmtp, timeout: float, answered_after: float, kind: Kind
) -> None:
    """With the default settings. `timeout` is what the caller's deadline leaves."""
    provider = build("smtp", {"SMTP_HOST": "127.0.0.1", "RELAYPOST_SMTP_TLS": "none", "SMTP_PORT": str(peer.port)})
    sending = asyncio.create_task(provider.send(messages.email(), timeout=timeout))
    while not peer.received:
        await asyncio.sleep(0.01)
    skip(answered_after)
    for _ in range(20):
        await asyncio.sleep(0)
    assert sending.done() == (kind is Kind.UNCONFIRMED)
    peer.held["."].set()
    outcome = await sending
    await provider.close()
    assert outcome.kind is kind, outcome
