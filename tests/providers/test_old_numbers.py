"""STOP is heard from a number that carriers write in its country's old form."""

from datetime import UTC, datetime

import pytest

from relaypost_server.addresses.phones import parse_phone
from relaypost_server.core.message import MessageState
from relaypost_server.core.suppression import Reply, SuppressionReason
from relaypost_server.flow.opt_outs import OptOuts
from tests.store.records import record
from tests.store.test_suppressions import Replica, replicas

__all__ = ["replicas"]
PAIRS = [("+5215512345678", "+525512345678")]


@pytest.mark.parametrize(("old", "sent_to"), PAIRS)
async def test_stop_from_an_old_form_of_the_number_is_heard(replicas: list[Replica], old: str, sent_to: str) -> None:
    """A send to `old` goes to `sent_to`, and is on record so."""
    one, other = replicas
    assert parse_phone(old).number == sent_to
    sent = record(
        state=MessageState.SENT,
        recipients=(sent_to,),
        provider="twilio",
        caller="signup",
        create_time=datetime.now(UTC),
    )
    await one.log.append(sent)
    await one.suppressions.heard(Reply(provider="twilio", id="SM1", address=old, wants_messages=False))
    assert await other.among(sent_to) == {sent_to: SuppressionReason.UNSUBSCRIBED}
    await one.suppressions.heard(Reply(provider="twilio", id="SM2", address=old, wants_messages=True))
    assert await other.among(sent_to) == {}


@pytest.mark.parametrize(("old", "sent_to"), PAIRS)
async def test_a_providers_list_of_opt_outs_may_hold_old_forms(replicas: list[Replica], old: str, sent_to: str) -> None:
    class Reader:
        name = "sns"
        opt_outs_every = 60.0

        async def opted_out(self) -> set[str]:
            return {old, "+14155550123"}

    one, other = replicas
    await OptOuts(Reader(), one.store).round()
    assert set(await other.among(sent_to, "+14155550123")) == {sent_to, "+14155550123"}
