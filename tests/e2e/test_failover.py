"""A gateway whose first email provider fails in every way, and its second works."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from relaypost import AsyncClient, SendFailedError
from relaypost.v1 import message_pb2

from tests.e2e.gateway import AWS_KEYS, Gateway, gateway, on_record
from tests.fakes.http import CLOSE, HANG, RESET, FakeHttp, Reply, answer, fake_http
from tests.providers.configured import SECRETS

OK = answer(200, b'{"MessageId":"ses-1"}')
ACCEPTED = answer(202, X_Message_Id="sg-1")


@dataclass
class Setup:
    """The gateway, its client, and the two providers behind it."""

    gateway: Gateway
    client: AsyncClient
    ses: FakeHttp
    sendgrid: FakeHttp

    async def send(self, **changes: object) -> message_pb2.Message:
        return await self.client.send_email(
            to="ada@example.com",
            subject="Your code",
            text="Your code is 482915",
            **changes,  # type: ignore[arg-type]
        )


@pytest.fixture
async def setup(bundled_database: str) -> AsyncIterator[Setup]:
    async with fake_http(OK) as ses, fake_http(ACCEPTED) as sendgrid:
        environ = {
            **AWS_KEYS,
            "SENDGRID_API_KEY": SECRETS["SENDGRID_API_KEY"],
            "RELAYPOST_SES_ENDPOINT": ses.url,
            "RELAYPOST_SES_TIMEOUT_SECONDS": "1",
            "RELAYPOST_SENDGRID_ENDPOINT": sendgrid.url,
            "RELAYPOST_SNS_ENABLED": "false",
        }
        async with gateway(environ, database=bundled_database) as running, AsyncClient(running.grpc) as client:
            yield Setup(running, client, ses, sendgrid)


def kinds(message: message_pb2.Message) -> list[tuple[str, str]]:
    name = message_pb2.OutcomeKind.Name
    return [(a.provider, name(a.kind).removeprefix("OUTCOME_KIND_")) for a in message.attempts]


@pytest.mark.parametrize(
    ("reply", "kind", "duplicate"),
    [
        pytest.param(HANG, "UNCONFIRMED", True, id="hangs"),
        pytest.param(RESET, "UNCONFIRMED", True, id="resets"),
        pytest.param(CLOSE, "UNCONFIRMED", True, id="closes"),
        pytest.param(Reply(b"\x16\x03\x01 garbage"), "UNCONFIRMED", True, id="garbage"),
        pytest.param(answer(200, b"<html>"), "UNCONFIRMED", True, id="html"),
        pytest.param(answer(200, b"x" * 2_000_000), "UNCONFIRMED", True, id="too much"),
        pytest.param(answer(503, b"{}", x_amzn_errortype="ServiceUnavailableException"), "FAULTED", False, id="503"),
        pytest.param(
            answer(429, b"{}", x_amzn_errortype="TooManyRequestsException", Retry_After="7"),
            "THROTTLED",
            False,
            id="429",
        ),
        pytest.param(
            answer(401, b"{}", x_amzn_errortype="UnrecognizedClientException"), "UNAUTHORIZED", False, id="401"
        ),
    ],
)
async def test_each_fault_fails_over_and_is_submitted_once(
    setup: Setup, reply: Reply, kind: str, duplicate: bool
) -> None:
    setup.ses.always(reply)
    message = await setup.send()
    assert message.state == message_pb2.MESSAGE_STATE_SENT
    assert kinds(message) == [("ses", kind), ("sendgrid", "ACCEPTED")]
    assert message.possible_duplicate == duplicate
    assert message.provider_message_id == "sg-1"
    await asyncio.sleep(0.1)
    assert (len(setup.ses.received), len(setup.sendgrid.received)) == (1, 1)


async def test_at_most_once_stops_where_the_answer_is_lost(setup: Setup) -> None:
    setup.ses.always(HANG)
    message = await setup.send(at_most_once=True)
    assert message.state == message_pb2.MESSAGE_STATE_UNCONFIRMED
    assert (len(setup.ses.received), len(setup.sendgrid.received)) == (1, 0)


async def test_a_circuit_opens_on_the_fifth_fault_and_health_shows_it(setup: Setup) -> None:
    setup.ses.always(answer(503, b"{}", x_amzn_errortype="ServiceUnavailableException"))
    for _ in range(5):
        await setup.send()
    sixth = await setup.send()
    assert kinds(sixth) == [("ses", "SKIPPED"), ("sendgrid", "ACCEPTED")]
    assert len(setup.ses.received) == 5
    ses = (await setup.client.provider_health()).channels[0].providers[0]
    assert ses.circuit_state == message_pb2.CIRCUIT_STATE_OPEN
    _, over_http = await setup.gateway.get("/health/messaging")
    assert '"circuitState": "CIRCUIT_STATE_OPEN"' in over_http
    _, metrics = await setup.gateway.get("/metrics")
    assert 'relaypost_circuit_state{channel="email",provider="ses"} 2.0' in metrics
    (event,) = setup.gateway.events("circuit open")
    assert (event["provider"], event["reason"]) == ("ses", "consecutive_failures")


async def test_when_nobody_can_send_the_caller_learns_everything(setup: Setup) -> None:
    setup.ses.always(answer(503, b"{}", x_amzn_errortype="ServiceUnavailableException"))
    setup.sendgrid.always(answer(401, b'{"errors":[{"message":"bad key"}]}'))
    with pytest.raises(SendFailedError) as caught:
        await setup.send()
    error = caught.value
    assert error.reason == "PROVIDERS_EXHAUSTED"
    assert error.retry_after == 1.0
    assert [(a.provider, a.provider_code) for a in error.attempts] == [
        ("ses", "ServiceUnavailableException"),
        ("sendgrid", "401"),
    ]
    found = await on_record(setup.client, error.message_id)
    assert found.state == message_pb2.MESSAGE_STATE_FAILED


async def test_nothing_that_is_shown_holds_a_secret_or_the_message(setup: Setup) -> None:
    """The providers repeat the whole request in their errors."""

    def echo(status: int) -> None:
        def reply(request: object) -> Reply:
            said = str(request).replace('"', "'").replace("\\", "")
            return answer(status, f'{{"message":"{said}","errors":[{{"message":"{said}"}}]}}'.encode())

        setup.ses.reply = setup.sendgrid.reply = reply

    shown = []
    for status in (400, 401, 429, 500):
        echo(status)
        for _ in range(2):
            try:
                shown.append(str(await setup.send()))
            except SendFailedError as error:
                shown.append(f"{error} {error.as_dict()}")
    shown += [(await setup.gateway.get(path))[1] for path in ("/metrics", "/health/messaging")]
    shown += setup.gateway.raw
    everything = "".join(shown)
    for secret in (*SECRETS.values(), "482915"):
        assert secret not in everything
    logged = "".join(setup.gateway.raw)
    assert "ada@example.com" not in logged


async def test_a_hundred_messages_at_once_while_the_first_provider_flaps(setup: Setup) -> None:
    def flap(_: object) -> Reply:
        return OK if len(setup.ses.received) % 2 else RESET

    setup.ses.reply = flap
    messages = await asyncio.gather(*(setup.send() for _ in range(100)))
    assert all(m.state == message_pb2.MESSAGE_STATE_SENT for m in messages)
    attempts = [p for m in messages for p, k in kinds(m) if k != "SKIPPED"]
    assert len(setup.ses.received) == attempts.count("ses")
    assert len(setup.sendgrid.received) == attempts.count("sendgrid")
