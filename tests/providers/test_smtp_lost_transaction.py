"""Who is in doubt when the second of three transactions is not answered."""

import pytest

from relaypost_server.core.message import Guarantee
from relaypost_server.core.outcome import Kind
from relaypost_server.providers.smtp import Smtp
from tests.fakes.smtp import BREAK_OFF, FakeSmtp
from tests.providers.test_smtp_transactions import PEOPLE, Limited, peer, send, smtp

__all__ = ["peer", "smtp"]


@pytest.mark.parametrize("reply", [BREAK_OFF, "352 what"])
async def test_only_those_of_the_transaction_that_was_not_answered_are_unconfirmed(
    smtp: Smtp, peer: FakeSmtp, reply: str
) -> None:
    """The seventh was never offered: nobody may have written to it, so even AT_MOST_ONCE goes on with it."""
    peer.decide = Limited(3, {(2, "."): reply})
    outcome = await send(smtp)
    assert outcome.kind is Kind.ACCEPTED
    assert [r.address for r in outcome.refused if r.unconfirmed] == list(PEOPLE[3:6])
    assert outcome.left_over(Guarantee.AT_MOST_ONCE) == (PEOPLE[6],)
