"""A sender name is kept for a country where the number was at fault."""

from collections.abc import Callable
from typing import Any

import pytest

from relaypost_server.core.outcome import Kind
from tests.fakes.http import FakeHttp
from tests.providers.test_senders import ABROAD, TAKEN, form_of, peer, provider_with, refused, send

__all__ = ["peer", "provider_with"]
pytestmark = pytest.mark.usefixtures("aws_keys")


async def test_a_number_that_twilio_reaches_from_no_sender_costs_nobody_else_the_name(
    peer: FakeHttp, provider_with: Callable[..., Any]
) -> None:
    """21612 from the name and from the account's number alike is about that number, not about the name."""
    twilio = provider_with("twilio")
    peer.reply = lambda request: refused(21612) if form_of(request)["To"] == ABROAD["to"] else TAKEN
    outcome = await send(twilio, **ABROAD, sender_id="Acme")
    assert outcome.kind is Kind.UNSUPPORTED
    outcome = await send(twilio, to="+4915112345679", country="DE", sender_id="Acme")
    assert outcome.kind is Kind.ACCEPTED
    assert [form_of(r)["From"] for r in peer.received][-1] == "Acme"
    assert not outcome.adjustments
