"""A caller past its budget, over a real socket."""

import grpc
from google.rpc import error_details_pb2
from relaypost.v1 import (
    failure_pb2,
    message_pb2,
    messaging_service_pb2 as pb,
    sms_pb2,
)

from relaypost_server.core.budgets import Budget, Budgets
from relaypost_server.core.message import Channel
from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind
from tests.api.conftest import Serve
from tests.api.status import failure_of
from tests.fakes.providers import FakeProvider, failing

NOISY = (("relaypost-caller", "noisy"),)


async def test_a_caller_past_its_budget_is_told_so_and_nothing_is_sent(serve: Serve) -> None:
    paid = failing(Kind.ACCEPTED, units=1, cost=Money(micros=1))
    provider = FakeProvider("t", [paid], channel=Channel.SMS)
    served = await serve(texts=[provider], budgets=Budgets(callers={"noisy": Budget(hard=Money(micros=1))}))
    request = pb.SendSmsRequest(sms=sms_pb2.Sms(to="+14155550123", text="Hi"))
    await served.stub.SendSms(request, metadata=NOISY)
    failure = await failure_of(served.stub.SendSms(request, metadata=NOISY))
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_EXHAUSTED")
    [quota] = failure.details(error_details_pb2.QuotaFailure)
    assert [v.subject for v in quota.violations] == ["caller:noisy"]
    [told] = failure.details(failure_pb2.SendFailure)
    assert [a.kind for a in told.attempts] == [message_pb2.OUTCOME_KIND_SKIPPED]
    assert failure.retry_seconds is None
    assert (await served.stub.SendSms(request)).message.state == message_pb2.MESSAGE_STATE_SENT
    assert len(provider.received) == 2
