"""What becomes of messages to people who get none."""

from dataclasses import replace
from typing import Any

import pytest

from relaypost_server.core.failover import SUPPRESSION_LIST, Ending
from relaypost_server.core.idempotency import Begun, RequestKey
from relaypost_server.core.message import Address, Email, Guarantee, MessageState, Sms
from relaypost_server.core.outcome import Kind, Outcome, RefusedRecipient
from relaypost_server.core.suppression import SuppressionReason
from relaypost_server.flow.send import Sent
from tests import messages
from tests.fakes.providers import FakeProvider, Rig, failing
from tests.fakes.suppressions import FakeScreen
from tests.store.test_requests import attempt

BOUNCED, COMPLAINED = SuppressionReason.BOUNCED, SuppressionReason.COMPLAINED
ADA, GRACE, ALAN = "ada@example.com", "grace@example.com", "alan@example.com"
EMAIL: Email = messages.full_email().content
KEY = RequestKey(caller="signup", method="SendEmail", request_id="r-1")


def rig(*suppressed: str, providers: list[FakeProvider] | None = None) -> Rig:
    screen = FakeScreen(dict.fromkeys(suppressed, BOUNCED))
    return Rig(providers or [FakeProvider("a"), FakeProvider("b")], screen=screen)


async def send(rig: Rig, content: Email | Sms = EMAIL, **more: Any) -> Sent:
    return await rig.sender.send(
        content, guarantee=Guarantee.AT_LEAST_ONCE, metadata={}, time_left=None, caller_name="signup", **more
    )


async def test_where_nobody_is_left_nobody_is_asked() -> None:
    world = rig(ADA, GRACE, ALAN)
    sent = await send(world)
    assert [p.received for p in world.providers] == [[], []]
    assert sent.verdict.ending is Ending.SUPPRESSED
    assert world.log.records == [sent.record]
    assert (sent.record.state, sent.record.caller, sent.record.provider) == (MessageState.REJECTED, "signup", "")
    assert sent.record.recipients == (ADA, GRACE, ALAN)
    [why] = sent.record.attempts
    assert (why.provider, why.kind, why.outcome.provider_code) == (SUPPRESSION_LIST, Kind.REJECTED, "SUPPRESSED")
    assert why.outcome.detail == "every recipient is suppressed: bounced"
    assert [r.address for r in why.outcome.refused] == [ADA, GRACE, ALAN]
    assert 'relaypost_suppressed_total{channel="email",reason="bounced"} 3.0' in world.metrics.render().decode()


async def test_those_who_are_left_get_it() -> None:
    world = rig(ADA, ALAN, providers=[FakeProvider("a", [failing(Kind.FAULTED)]), FakeProvider("b")])
    sent = await send(world)
    [asked] = world.providers[1].received
    assert asked.content.recipients == (GRACE,)
    assert sent.record.state is MessageState.SENT
    assert sent.record.recipients == (ADA, GRACE, ALAN)
    faulted, accepted = sent.record.attempts
    assert faulted.outcome.refused == ()
    assert accepted.outcome.refused == (
        RefusedRecipient(address=ADA, provider_code="SUPPRESSED", temporary=False),
        RefusedRecipient(address=ALAN, provider_code="SUPPRESSED", temporary=False),
    )


async def test_an_email_is_never_to_nobody() -> None:
    world = rig(ADA)
    await send(world)
    email = world.providers[0].received[0].content
    assert (email.to, email.cc) == ((Address(email=GRACE),), ())


async def test_refusals_of_the_provider_stay_beside_those_of_the_list() -> None:
    refused = (RefusedRecipient(address=GRACE, provider_code="550", temporary=False),)
    world = rig(ADA, providers=[FakeProvider("a", [Outcome(kind=Kind.ACCEPTED, refused=refused)])])
    [accepted] = (await send(world)).record.attempts
    assert [r.provider_code for r in accepted.outcome.refused] == ["550", "SUPPRESSED"]


async def test_nothing_changes_for_those_who_are_not_suppressed() -> None:
    world = rig("somebody@example.com")
    sent = await send(world)
    assert world.providers[0].received[0].content == EMAIL
    assert sent.record.attempts[0].outcome.refused == ()
    assert isinstance(world.screen, FakeScreen)
    assert world.screen.asked == ["signup"]


async def test_a_keyed_request_to_nobody_is_claimed_without_a_provider_and_its_answer_kept() -> None:
    world = rig(ADA, GRACE, ALAN)
    sent = await send(world, key=KEY)
    assert sent.verdict.ending is Ending.SUPPRESSED
    [claim] = world.requests.claims
    assert (claim.first_provider, world.requests.started) == ("", [])
    [(record, _, kept)] = world.requests.finished
    assert (record, kept) == (sent.record, True)
    assert [p.received for p in world.providers] == [[], []]


async def test_what_may_have_been_sent_before_outweighs_the_list() -> None:
    world = rig(ADA, GRACE, ALAN)
    before = replace(
        (await send(rig(), key=KEY)).record, attempts=(attempt("a", Kind.UNCONFIRMED),), state=MessageState.SENDING
    )
    world.requests.answers = [Begun(fence=2, record=before)]
    sent = await send(world, key=KEY)
    assert sent.verdict.ending is Ending.UNCONFIRMED
    assert [a.provider for a in sent.record.attempts] == ["a", SUPPRESSION_LIST]


@pytest.mark.parametrize("opted_out", [True, False])
async def test_whoever_opted_out_is_remembered(opted_out: bool) -> None:
    refusal = Outcome(kind=Kind.REJECTED, provider_code="21610", opted_out=opted_out)
    world = rig(providers=[FakeProvider("a", [refusal])])
    text = messages.sms().content
    await send(world, text)
    assert isinstance(world.screen, FakeScreen)
    assert world.screen.opted == ([(text.to, "a")] if opted_out else [])


@pytest.mark.parametrize("kind", [Kind.REJECTED, Kind.ACCEPTED, Kind.FAULTED])
async def test_mailboxes_that_do_not_exist_are_remembered_whatever_else_became_of_the_message(kind: Kind) -> None:
    world = rig(providers=[FakeProvider("a", [Outcome(kind=kind, gone=(GRACE,))]), FakeProvider("b")])
    await send(world)
    assert isinstance(world.screen, FakeScreen)
    assert world.screen.gone == [(GRACE, "a")]
