"""Refusals of one provider, through a real server: who is asked next, who is alerted, and what the caller is told."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from relaypost.v1 import failure_pb2, message_pb2

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.outcome import Kind
from tests.api.conftest import Serve, Served
from tests.api.status import Failure, failure_of
from tests.api.test_validation import email, sms
from tests.fakes.http import Reply, answer
from tests.fakes.providers import FakeProvider, failing
from tests.providers.cases import Peer
from tests.providers.rows import over_http

pytestmark = pytest.mark.usefixtures("aws_keys")

SNS_INVALID_NUMBER = answer(
    400,
    b"<ErrorResponse><Error><Code>InvalidParameter</Code><Message>Invalid parameter: PhoneNumber Reason: "
    b"+14155550123 is not valid to publish to</Message></Error></ErrorResponse>",
)
SNS_UNAVAILABLE = b"<ErrorResponse><Error><Code>ServiceUnavailable</Code><Message>no</Message></Error></ErrorResponse>"
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
Enter = Callable[[str], Awaitable[Peer]]


@pytest.fixture
async def peer() -> AsyncIterator[Enter]:
    """Providers that speak HTTP, each with a server of its own."""
    async with AsyncExitStack() as stack:
        yield lambda name: stack.enter_async_context(over_http(name))


def twilio(code: int) -> Reply:
    return answer(400, f'{{"code": {code}, "message": "m", "status": 400}}'.encode())


LANDLINE = twilio(21635)
"""It blames the recipient, which is Twilio's own view."""


def kinds(message: Any) -> list[tuple[str, str]]:
    """Of each attempt, in the answer."""
    return [(a.provider, message_pb2.OutcomeKind.Name(a.kind).removeprefix("OUTCOME_KIND_")) for a in message.attempts]


def alerts(served: Served, provider: str, kind: str, channel: str = "sms") -> bool:
    """Whether an attempt of this kind was counted as one for an operator."""
    rig = served.texts if channel == "sms" else served.emails
    labels = {"channel": channel, "provider": provider, "kind": kind}
    [family] = [f for f in rig.metrics.collect() if f.name == "relaypost_alerts"]
    return labels in [sample.labels for sample in family.samples]


async def test_a_number_that_sns_calls_invalid_is_sent_by_twilio(serve: Serve, peer: Enter) -> None:
    sns, second = await peer("sns"), await peer("twilio")
    sns.give(SNS_INVALID_NUMBER)
    second.accept()
    served = await serve(texts=[sns.provider, second.provider])
    message = (await served.stub.SendSms(sms())).message
    assert message.state == message_pb2.MESSAGE_STATE_SENT
    assert kinds(message) == [("sns", "UNSUPPORTED"), ("twilio", "ACCEPTED")]
    assert (sns.submissions, second.submissions) == (1, 1)
    assert not alerts(served, "sns", "unsupported")


@pytest.mark.parametrize("code", [21408, 21659, 21660, 21661, 21999, 63999])
async def test_codes_of_twilio_about_our_set_up_and_unknown_ones_go_on_and_alert(
    serve: Serve, peer: Enter, code: int
) -> None:
    first, second = await peer("twilio"), await peer("sns")
    first.give(twilio(code))
    second.accept()
    served = await serve(texts=[first.provider, second.provider])
    message = (await served.stub.SendSms(sms())).message
    assert kinds(message) == [("twilio", "UNSUPPORTED"), ("sns", "ACCEPTED")]
    assert alerts(served, "twilio", "unsupported")


@pytest.mark.parametrize("code", [21211, 21214, 21217, 21265, 21610, 21614, 21617])
async def test_codes_of_twilio_about_the_recipient_or_the_text_end_the_chain(
    serve: Serve, peer: Enter, code: int
) -> None:
    first, second = await peer("twilio"), await peer("sns")
    first.give(twilio(code))
    served = await serve(texts=[first.provider, second.provider])
    failure = await failure_of(served.stub.SendSms(sms()))
    assert (failure.code, failure.reason) == (FAILED_PRECONDITION, "MESSAGE_REJECTED")
    assert second.submissions == 0


@pytest.mark.parametrize("reply", [answer(200, b"<html>Log in to the network</html>"), answer(204)])
async def test_no_success_but_202_is_sendgrids(serve: Serve, peer: Enter, reply: Reply) -> None:
    first, second = await peer("sendgrid"), await peer("ses")
    first.give(reply)
    second.accept()
    served = await serve([first.provider, second.provider])
    message = (await served.stub.SendEmail(email())).message
    assert kinds(message) == [("sendgrid", "UNCONFIRMED"), ("ses", "ACCEPTED")]
    assert message.possible_duplicate


@pytest.mark.parametrize(
    ("status", "kind", "alerted"),
    [
        (302, "UNSUPPORTED", True),
        (307, "UNSUPPORTED", True),
        (408, "FAULTED", False),
        (409, "UNSUPPORTED", True),
    ],
)
async def test_a_status_of_sendgrid_that_is_not_about_the_account_opens_no_circuit_at_once(
    serve: Serve, peer: Enter, status: int, kind: str, alerted: bool
) -> None:
    first, second = await peer("sendgrid"), await peer("ses")
    first.give(answer(status))
    second.accept()
    served = await serve([first.provider, second.provider])
    message = (await served.stub.SendEmail(email())).message
    assert kinds(message) == [("sendgrid", kind), ("ses", "ACCEPTED")]
    assert alerts(served, "sendgrid", kind.lower(), "email") == alerted
    assert served.emails.chain["sendgrid"].health().circuit_state is CircuitState.CLOSED


async def refused_by(serve: Serve, peer: Enter, answers: dict[str, Reply]) -> Failure:
    """What the caller is told where these providers, in this order, answer so."""
    peers = {name: await peer(name) for name in answers}
    for name, reply in answers.items():
        peers[name].give(reply)
    served = await serve(texts=[each.provider for each in peers.values()])
    failure = await failure_of(served.stub.SendSms(sms()))
    [detail] = failure.details(failure_pb2.SendFailure)
    assert [a.provider for a in detail.attempts] == list(answers)
    return failure


@pytest.mark.parametrize("second", [SNS_INVALID_NUMBER, answer(413)])
async def test_a_recipient_whom_one_provider_does_not_know_is_rejected_when_all_others_refuse_too(
    serve: Serve, peer: Enter, second: Reply
) -> None:
    failure = await refused_by(serve, peer, {"twilio": LANDLINE, "sns": second})
    assert (failure.code, failure.reason) == (FAILED_PRECONDITION, "MESSAGE_REJECTED")
    assert failure.retry_seconds is None


@pytest.mark.parametrize("second", [answer(503, SNS_UNAVAILABLE), answer(429, b"{}")])
async def test_it_is_not_rejected_while_another_provider_may_reach_it_later(
    serve: Serve, peer: Enter, second: Reply
) -> None:
    failure = await refused_by(serve, peer, {"twilio": LANDLINE, "sns": second})
    assert (failure.code, failure.reason) == (UNAVAILABLE, "PROVIDERS_EXHAUSTED")
    assert failure.retry_seconds is not None


@pytest.mark.parametrize(
    "answers",
    [
        {"twilio": LANDLINE, "sns": answer(401, b"{}")},
        {"twilio": LANDLINE, "sns": answer(302)},
        {"sns": SNS_INVALID_NUMBER, "twilio": twilio(21408)},
        {"sns": SNS_INVALID_NUMBER, "twilio": twilio(21612)},
        {"sns": SNS_INVALID_NUMBER},
    ],
)
async def test_it_is_not_rejected_where_our_own_set_up_may_be_what_keeps_it_from_the_recipient(
    serve: Serve, peer: Enter, answers: dict[str, Reply]
) -> None:
    failure = await refused_by(serve, peer, answers)
    assert (failure.code, failure.reason) == (FAILED_PRECONDITION, "PROVIDERS_EXHAUSTED")
    assert failure.retry_seconds is None


async def test_a_refusal_that_blames_nobody_waits_for_an_operator(serve: Serve, peer: Enter) -> None:
    first = await peer("twilio")
    first.give(twilio(21659))
    served = await serve(texts=[first.provider])
    failure = await failure_of(served.stub.SendSms(sms()))
    assert (failure.code, failure.reason) == (FAILED_PRECONDITION, "PROVIDERS_EXHAUSTED")


async def test_a_recipient_who_is_deferred_is_tried_at_the_next_provider_and_may_be_later(serve: Serve) -> None:
    served = await serve([FakeProvider("a", [failing(Kind.DEFERRED)]), FakeProvider("b")])
    message = (await served.stub.SendEmail(email())).message
    assert kinds(message) == [("a", "DEFERRED"), ("b", "ACCEPTED")]
    for _ in range(9):
        await served.stub.SendEmail(email())
    assert served.emails.chain["a"].health().consecutive_failures == 0
    alone = await serve([FakeProvider("a", [failing(Kind.DEFERRED)])])
    failure = await failure_of(alone.stub.SendEmail(email()))
    assert (failure.code, failure.reason) == (UNAVAILABLE, "PROVIDERS_EXHAUSTED")
    assert failure.retry_seconds == 1.0
