"""SMTP as the first provider of two, asked through the server's API: what goes on to the second, and what does not."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from relaypost.v1 import email_pb2, message_pb2, messaging_service_pb2 as pb

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.outcome import Kind
from relaypost_server.core.suppression import SuppressionReason
from relaypost_server.providers.smtp import Smtp
from tests.api.conftest import Serve, Served, serve
from tests.api.status import failure_of
from tests.fakes.providers import FakeProvider, failing
from tests.fakes.smtp import BREAK_OFF, Dialogue, FakeSmtp, fake_smtp
from tests.fakes.suppressions import without_database
from tests.providers.configured import build

__all__ = ["serve"]

Chain = Callable[..., Awaitable[Served]]
AT_MOST_ONCE = message_pb2.DELIVERY_GUARANTEE_AT_MOST_ONCE


@pytest.fixture
async def peer() -> AsyncIterator[FakeSmtp]:
    async with fake_smtp() as fake:
        yield fake


@pytest.fixture
async def chain(serve: Serve, peer: FakeSmtp) -> AsyncIterator[Chain]:
    """Serves with SMTP first, and a second provider that accepts everything."""
    smtp: Smtp = build("smtp", {"SMTP_HOST": "127.0.0.1", "RELAYPOST_SMTP_TLS": "none", "SMTP_PORT": str(peer.port)})

    async def start(second: FakeProvider | None = None, **more: Any) -> Served:
        return await serve([smtp, second or FakeProvider("b")], **more)

    yield start
    await smtp.close()


async def send(served: Served, *to: str, **fields: Any) -> message_pb2.Message:
    people = [email_pb2.EmailAddress(address=a) for a in to or ("ada@example.com",)]
    request = pb.SendEmailRequest(email=email_pb2.Email(to=people, subject="Hi", text="Hi"), **fields)
    message: message_pb2.Message = (await served.stub.SendEmail(request)).message
    return message


def kinds(attempts: Sequence[message_pb2.Attempt]) -> list[tuple[str, str]]:
    name = message_pb2.OutcomeKind.Name
    return [(a.provider, name(a.kind).removeprefix("OUTCOME_KIND_").lower()) for a in attempts]


def alerts(served: Served) -> int:
    lines = served.emails.metrics.render().decode().splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith("relaypost_alerts_total{")))


def circuit(served: Served) -> CircuitState:
    link = served.emails.chain["smtp"]
    return link.state(link.now())


CLOSED, OPEN = CircuitState.CLOSED, CircuitState.OPEN
EVERYWHERE = ("MAIL", "RCPT", "DATA", ".")


@pytest.mark.parametrize(
    ("commands", "reply", "kind", "alert", "state"),
    [
        (("RCPT",), "554 5.7.1 <ada@example.com>: Relay access denied", "unsupported", True, CLOSED),
        (
            ("RCPT",),
            "504 5.5.2 <vm>: Helo command rejected: need full hostname",
            "unsupported",
            True,
            CLOSED,
        ),
        (("RCPT",), "550 5.7.1 Service unavailable; client [192.0.2.1] blocked using zen", "unsupported", True, CLOSED),
        (
            EVERYWHERE,
            "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
            "unsupported",
            True,
            CLOSED,
        ),
        (EVERYWHERE, "554 Message rejected: Email address is not verified.", "unsupported", True, CLOSED),
        (EVERYWHERE, "553 5.7.1 Sender address rejected: not owned by user ada", "unsupported", True, CLOSED),
        (("MAIL", "."), "552 5.3.4 Message size exceeds fixed limit", "unsupported", False, CLOSED),
        (("MAIL", "."), "554 5.3.0 refused", "unsupported", True, CLOSED),
        (("MAIL", "."), "554 5.5.4 refused", "unsupported", True, CLOSED),
        (("DATA", "."), "554 5.6.0 refused", "unsupported", False, CLOSED),
        (("RCPT",), "550 5.1.8 Sender address rejected: Domain not found", "unsupported", True, CLOSED),
        (("RCPT",), "550 no such user", "unsupported", False, CLOSED),
        (("MAIL", "RCPT"), "450 4.1.2 Recipient address rejected: Domain not found", "deferred", False, CLOSED),
        (("MAIL", "RCPT", "."), "451 4.7.1 greylisted", "deferred", False, CLOSED),
        (("RCPT",), "452 4.3.1 Insufficient system storage", "faulted", False, OPEN),
        (("MAIL",), "421 4.3.2 closing", "unreachable", False, OPEN),
        (("greeting",), "554 5.3.2 no service", "unreachable", False, OPEN),
        (("EHLO",), "550 5.7.1 blocked using zen", "unsupported", True, CLOSED),
        (EVERYWHERE, "550 5.7.30 Basic authentication is not supported", "unauthorized", True, OPEN),
    ],
)
async def test_what_is_not_the_recipients_fault_goes_on_to_the_next_provider(
    chain: Chain, peer: FakeSmtp, commands: tuple[str, ...], reply: str, kind: str, alert: bool, state: CircuitState
) -> None:
    """Five times, after which the circuit would open for everybody if it were the server's failure."""
    served = await chain()
    for number in range(5):
        peer.replies = {commands[number % len(commands)]: reply}
        message = await send(served)
        if number == 0 or state is CLOSED:
            assert kinds(message.attempts) == [("smtp", kind), ("b", "accepted")]
        assert message.state == message_pb2.MESSAGE_STATE_SENT
        assert not message.possible_duplicate
    assert len(served.emails.providers[1].received) == 5, "one submission each"
    assert circuit(served) is state
    assert alerts(served) == (0 if not alert else 5 if state is CLOSED else 1)


async def test_a_quota_that_is_used_up_is_not_tried_again_soon(chain: Chain, peer: FakeSmtp) -> None:
    peer.replies["."] = "550 5.4.5 Daily user sending quota exceeded."
    served = await chain()
    assert kinds((await send(served)).attempts) == [("smtp", "throttled"), ("b", "accepted")]
    assert kinds((await send(served)).attempts) == [("smtp", "skipped"), ("b", "accepted")]
    refusal = served.emails.chain.refusals(served.emails.chain["smtp"].now())["smtp"]
    assert refusal.retry_at - served.emails.chain["smtp"].now() > 3000
    assert (len(peer.received), circuit(served)) == (1, CLOSED)


@pytest.mark.parametrize(
    "reply",
    [
        "550 5.1.1 User unknown",
        "550 5.1.2 no such domain",
        "553 5.1.3 bad syntax",
        "551 5.1.6 moved",
        "550 5.1.10 not found",
        "550 5.2.1 disabled",
    ],
)
async def test_a_recipient_that_does_not_exist_ends_the_chain_and_is_suppressed(
    chain: Chain, peer: FakeSmtp, reply: str
) -> None:
    suppressions = without_database()
    served = await chain(suppressions=suppressions)
    peer.replies["RCPT"] = reply
    assert (await failure_of(send(served))).reason == "MESSAGE_REJECTED"
    assert (await failure_of(send(served))).reason == "SUPPRESSED"
    assert suppressions.among("", ["ada@example.com"]) == {"ada@example.com": SuppressionReason.BOUNCED}
    assert (served.emails.providers[1].received, peer.commands.count("RCPT"), alerts(served)) == ([], 1, 0)


async def test_of_several_recipients_only_those_that_do_not_exist_are_suppressed(chain: Chain, peer: FakeSmtp) -> None:
    suppressions = without_database()
    served = await chain(suppressions=suppressions)
    replies = {"typo@example.com": "550 5.1.1 unknown", "later@example.com": "450 4.2.0 greylisted"}
    peer.decide = lambda d: replies.get(d.line[9:-1])
    message = await send(served, "ada@example.com", *replies)
    assert kinds(message.attempts) == [("smtp", "accepted"), ("b", "accepted")]
    assert served.emails.providers[1].received[0].content.recipients == ("later@example.com",)
    assert set(suppressions.among("", ["ada@example.com", *replies])) == {"typo@example.com"}


async def test_where_every_provider_refuses_the_recipients_fault_is_told(chain: Chain, peer: FakeSmtp) -> None:
    peer.replies["RCPT"] = "550 no such user"
    served = await chain(FakeProvider("b", [failing(Kind.UNSUPPORTED)]))
    assert (await failure_of(send(served))).reason == "MESSAGE_REJECTED"


async def test_a_server_that_closes_its_connections_after_seven_messages_fails_none_of_thirty(
    chain: Chain, peer: FakeSmtp
) -> None:
    def decide(dialogue: Dialogue) -> str | None:
        closing = dialogue.line.startswith("MAIL") and dialogue.began > 7
        return "421 4.7.0 maximum message count per session reached" if closing else None

    peer.decide = decide
    served = await chain()
    for _ in range(30):
        assert kinds((await send(served)).attempts) == [("smtp", "accepted")]
    assert (len(peer.received), circuit(served)) == (30, CLOSED)
    assert peer.commands.count("MAIL") == 31, "its number was learnt from the first connection"


PEOPLE = tuple(f"p{number}@example.com" for number in range(15))
TOO_MANY = "452 4.5.3 Error: too many recipients"


async def test_fifteen_recipients_get_it_from_a_server_that_takes_ten_at_once(chain: Chain, peer: FakeSmtp) -> None:
    peer.decide = lambda d: TOO_MANY if d.line.startswith("RCPT") and d.taken >= 10 else None
    served = await chain()
    message = await send(served, *PEOPLE)
    assert kinds(message.attempts) == [("smtp", "accepted")]
    assert (message.state, list(message.attempts[0].refused_recipients)) == (message_pb2.MESSAGE_STATE_SENT, [])
    assert [sum(line.startswith("RCPT") for line in lines) for lines in peer.envelopes] == [11, 5]


def loses_the_second(dialogue: Dialogue) -> str | None:
    if dialogue.line.startswith("RCPT") and dialogue.taken >= 10:
        return TOO_MANY
    return BREAK_OFF if (dialogue.began, dialogue.line) == (2, ".") else None


async def test_only_those_in_doubt_are_offered_to_the_next_provider(chain: Chain, peer: FakeSmtp) -> None:
    peer.decide = loses_the_second
    served = await chain()
    message = await send(served, *PEOPLE)
    assert kinds(message.attempts) == [("smtp", "accepted"), ("b", "accepted")]
    assert (message.state, message.possible_duplicate) == (message_pb2.MESSAGE_STATE_SENT, True)
    assert served.emails.providers[1].received[0].content.recipients == PEOPLE[10:]
    assert circuit(served) is CLOSED


async def test_those_in_doubt_are_told_where_no_duplicate_is_allowed(chain: Chain, peer: FakeSmtp) -> None:
    peer.decide = loses_the_second
    served = await chain()
    message = await send(served, *PEOPLE, delivery_guarantee=AT_MOST_ONCE)
    assert kinds(message.attempts) == [("smtp", "accepted")]
    told = [(r.address, r.provider_code) for r in message.attempts[0].refused_recipients]
    assert told == [(address, "UNCONFIRMED") for address in PEOPLE[10:]]
    assert served.emails.providers[1].received == []


async def test_a_token_that_cannot_be_had_does_not_stop_the_message(serve: Serve, tmp_path: Any) -> None:
    environ = {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_USER": "gateway@example.com",
        "RELAYPOST_SMTP_OAUTH_TOKEN_FILE": str(tmp_path / "missing"),
    }
    smtp: Smtp = build("smtp", environ)
    served = await serve([smtp, FakeProvider("b")])
    message = await send(served)
    await smtp.close()
    assert kinds(message.attempts) == [("smtp", "unauthorized"), ("b", "accepted")]
    assert "RELAYPOST_SMTP_OAUTH_TOKEN_FILE" in message.attempts[0].detail
    assert (circuit(served), alerts(served)) == (OPEN, 1)
