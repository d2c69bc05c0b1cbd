"""request_id over a real socket: what is asked for, what is answered, what is refused."""

from typing import Any

import grpc
import pytest
from relaypost.v1 import failure_pb2, message_pb2, messaging_service_pb2 as pb

from relaypost_server.core.idempotency import InProgress, Replay, Reused
from relaypost_server.core.message import MessageState
from relaypost_server.core.outcome import Kind
from relaypost_server.core.ports import LogUnavailableError
from tests.api.conftest import Serve
from tests.api.status import failure_of
from tests.api.test_validation import email, sms
from tests.fakes.providers import FakeProvider, failing
from tests.store.records import record


def keyed(request: Any, request_id: str = "r-1") -> Any:
    request.request_id = request_id
    return request


async def test_a_request_is_named_by_its_caller_its_method_and_its_id(serve: Serve) -> None:
    served = await serve()
    await served.stub.SendEmail(keyed(email()), metadata=(("relaypost-caller", "signup"),))
    await served.stub.SendSms(keyed(sms()))
    (claim,) = served.emails.requests.claims
    assert (claim.key.caller, claim.key.method, claim.key.request_id) == ("signup", "SendEmail", "r-1")
    (claim,) = served.texts.requests.claims
    assert (claim.key.caller, claim.key.method, claim.key.request_id) == ("", "SendSms", "r-1")


async def test_without_a_request_id_nothing_is_claimed(serve: Serve) -> None:
    served = await serve()
    assert not (await served.stub.SendEmail(email())).replayed
    assert served.emails.requests.claims == []


async def test_a_repeated_request_has_the_same_answer(serve: Serve) -> None:
    served = await serve()
    answered = record(state=MessageState.SENT)
    served.emails.requests.answers = [Replay(record=answered)]
    response: pb.SendEmailResponse = await served.stub.SendEmail(keyed(email()))
    assert response.replayed
    assert response.message.message_id == answered.id
    assert response.message.state == message_pb2.MESSAGE_STATE_SENT
    assert served.emails.providers[0].received == []


async def test_a_repeated_request_for_a_rejected_message_has_the_same_failure(serve: Serve) -> None:
    served = await serve([FakeProvider("a", [failing(Kind.REJECTED)])])
    first = await failure_of(served.stub.SendEmail(keyed(email())))
    ((rejected, _, kept),) = served.emails.requests.finished
    assert kept
    served.emails.requests.answers = [Replay(record=rejected)]
    again = await failure_of(served.stub.SendEmail(keyed(email())))
    assert (again.code, again.reason, again.text) == (first.code, first.reason, first.text)
    assert again.details(failure_pb2.SendFailure) == first.details(failure_pb2.SendFailure)


@pytest.mark.parametrize(
    ("answer", "code", "reason", "retry"),
    [
        (Reused(), grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", None),
        (InProgress(), grpc.StatusCode.ABORTED, "REQUEST_IN_PROGRESS", 1.0),
        (LogUnavailableError(), grpc.StatusCode.UNAVAILABLE, "IDEMPOTENCY_UNAVAILABLE", 5.0),
    ],
)
async def test_what_is_not_sent_says_why(
    serve: Serve, answer: Any, code: grpc.StatusCode, reason: str, retry: float | None
) -> None:
    served = await serve()
    served.emails.requests.answers = [answer]
    failure = await failure_of(served.stub.SendEmail(keyed(email())))
    assert (failure.code, failure.reason, failure.retry_seconds) == (code, reason, retry)
    assert served.emails.providers[0].received == []


async def test_a_database_that_goes_away_between_two_attempts_is_said_so(serve: Serve) -> None:
    served = await serve([FakeProvider("a", [failing(Kind.FAULTED)]), FakeProvider("b")])
    served.emails.requests.held = LogUnavailableError()
    failure = await failure_of(served.stub.SendEmail(keyed(email())))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "IDEMPOTENCY_UNAVAILABLE")
    (detail,) = failure.details(failure_pb2.SendFailure)
    assert [a.provider for a in detail.attempts] == ["a", "b"]
    assert served.emails.providers[1].received == []


@pytest.mark.parametrize("request_id", ["with space", "x" * 256, "é", "a\x00b", "line\nbreak"])
async def test_a_request_id_has_a_form(serve: Serve, request_id: str) -> None:
    served = await serve()
    failure = await failure_of(served.stub.SendEmail(keyed(email(), request_id)))
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(failure.fields) == ["request_id"]


async def test_a_caller_has_a_form(serve: Serve) -> None:
    served = await serve()
    failure = await failure_of(served.stub.SendSms(keyed(sms()), metadata=(("relaypost-caller", "a b"),)))
    assert list(failure.fields) == ["metadata relaypost-caller"]
