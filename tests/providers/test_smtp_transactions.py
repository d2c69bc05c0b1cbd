"""Messages for more recipients than the server takes in one transaction."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from relaypost_server.core.message import Address, Guarantee
from relaypost_server.core.outcome import Effect, Kind, Outcome
from relaypost_server.providers.smtp import Smtp
from tests import messages
from tests.fakes.smtp import BREAK_OFF, Dialogue, FakeSmtp, fake_smtp
from tests.providers.configured import build

TOO_MANY = "452 4.5.3 Error: too many recipients"
PEOPLE = tuple(f"p{number}@example.com" for number in range(7))


class Limited:
    """Takes at most so many recipients in one transaction; `then` overrides what is said in a transaction."""

    def __init__(self, most: int, then: dict[tuple[int, str], str] | None = None) -> None:
        self._most = most
        self._then = then or {}

    def __call__(self, dialogue: Dialogue) -> str | None:
        verb = dialogue.line.split()[0] if dialogue.line else ""
        if (dialogue.began, verb) in self._then:
            return self._then[dialogue.began, verb]
        return TOO_MANY if verb == "RCPT" and dialogue.taken >= self._most else None


@pytest.fixture
async def peer() -> AsyncIterator[FakeSmtp]:
    async with fake_smtp() as fake:
        yield fake


@pytest.fixture
async def smtp(peer: FakeSmtp) -> AsyncIterator[Smtp]:
    provider: Smtp = build(
        "smtp", {"SMTP_HOST": "127.0.0.1", "RELAYPOST_SMTP_TLS": "none", "SMTP_PORT": str(peer.port)}
    )
    yield provider
    await provider.close()


async def send(smtp: Smtp, *to: str, **changes: Any) -> Outcome:
    people = tuple(Address(email=a) for a in to or PEOPLE)
    return await smtp.send(messages.email(to=people, **changes), timeout=6.0)


def offered(peer: FakeSmtp) -> list[list[str]]:
    """The recipients that each message was for, those who were refused included."""
    return [[line[9:-1] for line in lines if line.startswith("RCPT")] for lines in peer.envelopes]


async def test_those_whom_one_transaction_does_not_take_get_the_message_in_the_next(smtp: Smtp, peer: FakeSmtp) -> None:
    peer.decide = Limited(3)
    outcome = await send(smtp)
    assert (outcome.kind, outcome.refused, outcome.units) == (Kind.ACCEPTED, (), 7)
    assert outcome.detail == "accepted in 3 transactions"
    assert outcome.provider_message_id == "4F1A2B3C,4F1A2B3C,4F1A2B3C", "every queue id"
    assert peer.connections == 1
    assert offered(peer) == [list(PEOPLE[:4]), list(PEOPLE[3:7]), [PEOPLE[6]]], "nobody is asked for twice"
    assert len(set(peer.received)) == 1


async def test_refusals_of_all_transactions_make_one_outcome(smtp: Smtp, peer: FakeSmtp) -> None:
    limited = Limited(2)
    refusals = {PEOPLE[1]: "550 5.1.1 unknown", PEOPLE[5]: "450 4.2.0 greylisted", PEOPLE[6]: "554 5.7.1 relay denied"}

    def decide(dialogue: Dialogue) -> str | None:
        return refusals.get(dialogue.line[9:-1]) or limited(dialogue)

    peer.decide = decide
    outcome = await send(smtp)
    assert outcome.kind is Kind.ACCEPTED
    assert [(r.address, r.provider_code, r.temporary) for r in outcome.refused] == [
        (PEOPLE[1], "550 5.1.1", False),
        (PEOPLE[5], "450 4.2.0", True),
        (PEOPLE[6], "554 5.7.1", True),
    ]
    assert (outcome.gone, outcome.alert) == ((PEOPLE[1],), True)
    assert outcome.units == 4


@pytest.mark.parametrize(
    ("command", "reply", "code"),
    [
        ("MAIL", "451 4.3.0 broken", "451 4.3.0"),
        ("DATA", "451 4.3.0 broken", "451 4.3.0"),
        (".", "554 5.7.1 spam", "554 5.7.1"),
        ("RCPT", BREAK_OFF, ""),
        ("DATA", BREAK_OFF, ""),
        ("RCPT", "421 4.7.0 too many errors", "421 4.7.0"),
    ],
)
async def test_where_the_second_transaction_certainly_failed_the_rest_is_for_another_provider(
    smtp: Smtp, peer: FakeSmtp, command: str, reply: str, code: str
) -> None:
    peer.decide = Limited(4, {(2, command): reply})
    outcome = await send(smtp)
    assert (outcome.kind, outcome.effect) == (Kind.ACCEPTED, Effect.NEUTRAL)
    assert outcome.left_over(Guarantee.AT_MOST_ONCE) == PEOPLE[4:]
    assert {r.provider_code for r in outcome.refused} == {code}
    assert outcome.provider_message_id == "4F1A2B3C"


async def test_where_the_second_dot_is_not_answered_only_the_rest_is_unconfirmed(smtp: Smtp, peer: FakeSmtp) -> None:
    peer.decide = Limited(4, {(2, "."): BREAK_OFF})
    outcome = await send(smtp)
    assert (outcome.kind, outcome.effect) == (Kind.ACCEPTED, Effect.NEUTRAL)
    assert [r.address for r in outcome.refused if r.unconfirmed] == list(PEOPLE[4:])
    assert outcome.left_over(Guarantee.AT_MOST_ONCE) == ()
    assert len(peer.received) == 2


@pytest.mark.parametrize("reply", ["421 4.7.0 one message for each connection", BREAK_OFF])
async def test_a_server_that_hangs_up_between_two_transactions_is_connected_anew(
    smtp: Smtp, peer: FakeSmtp, reply: str
) -> None:
    peer.decide = Limited(4, {(2, "MAIL"): reply})
    outcome = await send(smtp)
    assert (outcome.kind, outcome.refused) == (Kind.ACCEPTED, ())
    assert peer.connections == 2


@pytest.mark.parametrize(
    "reply",
    [
        "452 4.5.3 too many",
        "452 too many recipients",
        "452 no",
        "552 too many recipients",
        "550 5.5.3 RecipLimit",
        "451 4.3.0 Multiple destination domains per transaction is unsupported",
    ],
)
async def test_every_way_to_say_too_many(smtp: Smtp, peer: FakeSmtp, reply: str) -> None:
    peer.decide = lambda d: reply if d.line.startswith("RCPT") and d.taken >= 4 else None
    outcome = await send(smtp)
    assert (outcome.kind, outcome.refused, len(peer.received)) == (Kind.ACCEPTED, (), 2)


@pytest.mark.parametrize("reply", ["452 4.2.2 over quota", "452 4.3.1 no space"])
async def test_other_refusals_with_452_are_not_repeated(smtp: Smtp, peer: FakeSmtp, reply: str) -> None:
    peer.decide = lambda d: reply if d.line.startswith("RCPT") and d.taken >= 4 else None
    outcome = await send(smtp)
    assert (len(outcome.refused), len(peer.received)) == (3, 1)


async def test_a_server_that_takes_nobody_is_asked_once(smtp: Smtp, peer: FakeSmtp) -> None:
    peer.decide = Limited(0)
    outcome = await send(smtp)
    assert (outcome.kind, peer.commands.count("MAIL")) == (Kind.DEFERRED, 1)


async def test_bounces_go_where_the_envelope_says(smtp: Smtp, peer: FakeSmtp) -> None:
    outcome = await send(smtp, "ada@example.com", envelope_sender="bounce+7@example.org")
    assert outcome.kind is Kind.ACCEPTED
    assert peer.envelopes[0][0].startswith("MAIL FROM:<bounce+7@example.org>")
    assert b"From: Example <noreply@example.com>\r\n" in peer.received[0]
