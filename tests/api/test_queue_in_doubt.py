"""What callers are told where the queue's database is away, or did not say what it did."""

import grpc
import pytest
from relaypost.v1 import email_pb2, queue_service_pb2 as pb, queue_service_pb2_grpc

from relaypost_server.core.queue_ports import EnqueueInDoubtError
from tests.api.conftest import Serve
from tests.api.status import Failure, failure_of
from tests.fakes.queue import NoQueue

EMAIL = email_pb2.Email(to=[email_pb2.EmailAddress(address="ada@example.com")], subject="s", text="t")


async def refused(serve: Serve, request_id: str = "") -> Failure:
    stub = queue_service_pb2_grpc.QueueServiceStub((await serve()).channel)
    return await failure_of(stub.EnqueueEmail(pb.EnqueueEmailRequest(email=EMAIL, request_id=request_id)))


@pytest.mark.parametrize("request_id", ["", "order-7"])
async def test_with_the_database_away_nothing_was_queued(serve: Serve, request_id: str) -> None:
    failure = await refused(serve, request_id)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "QUEUE_UNAVAILABLE")
    assert failure.text.endswith("nothing was queued")
    assert failure.retry_seconds == 5.0


@pytest.mark.parametrize(("request_id", "retry"), [("", None), ("order-7", 5.0)])
async def test_what_may_be_queued_is_only_to_be_repeated_under_its_name(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, request_id: str, retry: float | None
) -> None:
    async def in_doubt(*_: object) -> None:
        raise EnqueueInDoubtError

    monkeypatch.setattr(NoQueue, "enqueue", in_doubt)
    failure = await refused(serve, request_id)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "QUEUE_IN_DOUBT")
    assert (failure.retry_seconds, "request_id" in failure.text) == (retry, True)


async def test_a_stream_is_not_told_that_nothing_of_it_was_queued(serve: Serve) -> None:
    stub = queue_service_pb2_grpc.QueueServiceStub((await serve()).channel)
    header = pb.SendBulkRequest(header=pb.BulkHeader(request_id="news"))
    failure = await failure_of(stub.SendBulk(iter([header])))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "QUEUE_UNAVAILABLE")
    assert "repeat the stream with the same request_id" in failure.text
    assert failure.retry_seconds == 5.0
