"""What callers are told where the queue's database is away, or did not say what it did."""

from datetime import UTC, datetime

import grpc
import pytest
from relaypost.v1 import email_pb2, queue_service_pb2 as pb, queue_service_pb2_grpc

from relaypost_server.core.ports import ReportsBusyError
from relaypost_server.core.queue import Batch
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


async def test_a_stored_batch_is_answered_without_its_counts_where_reports_leave_no_room(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def batch(_: NoQueue, *arguments: object, **named: object) -> Batch:
        fingerprint = str(named.get("fingerprint", ""))
        return Batch(
            id="batch", caller="", create_time=datetime.now(UTC), fingerprint=fingerprint, stored=7, closed=True
        )

    async def busy(*_: object) -> None:
        raise ReportsBusyError

    monkeypatch.setattr(NoQueue, "open", batch)
    monkeypatch.setattr(NoQueue, "advance", batch)
    monkeypatch.setattr(NoQueue, "progress", busy)
    stub = queue_service_pb2_grpc.QueueServiceStub((await serve()).channel)
    header = pb.SendBulkRequest(header=pb.BulkHeader(request_id="news"))
    answer = await stub.SendBulk(iter([header]))
    assert (answer.batch.batch_id, answer.batch.closed, answer.batch.stored) == ("batch", True, 7)
    assert (answer.batch.size, list(answer.batch.states)) == (0, [])
