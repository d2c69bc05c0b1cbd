"""AdminService over a real socket."""

import grpc
import pytest
from relaypost.v1 import admin_service_pb2 as pb, admin_service_pb2_grpc, message_pb2

from relaypost_server.core.message import MessageState
from tests.api.conftest import Serve, Served
from tests.api.status import failure_of
from tests.store.records import record

UNKNOWN = "01981f00-0000-7000-8000-000000000001"


def admin(served: Served) -> "admin_service_pb2_grpc.AdminServiceAsyncStub":
    return admin_service_pb2_grpc.AdminServiceStub(served.channel)


@pytest.mark.parametrize(
    ("resolution", "state"),
    [
        (pb.RESOLUTION_SENT, message_pb2.MESSAGE_STATE_SENT),
        (pb.RESOLUTION_NOT_SENT, message_pb2.MESSAGE_STATE_FAILED),
    ],
)
async def test_an_unconfirmed_message_is_settled_by_hand(
    serve: Serve, resolution: "pb.Resolution.ValueType", state: "message_pb2.MessageState.ValueType"
) -> None:
    served = await serve()
    doubtful = record(state=MessageState.UNCONFIRMED)
    await served.emails.log.append(doubtful)
    request = pb.ResolveMessageRequest(message_id=doubtful.id, resolution=resolution)
    assert (await admin(served).ResolveMessage(request)).message.state == state
    again = await failure_of(admin(served).ResolveMessage(request))
    assert (again.code, again.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MESSAGE_NOT_UNCONFIRMED")


async def test_what_cannot_be_resolved_says_why(serve: Serve) -> None:
    served = await serve()
    failure = await failure_of(admin(served).ResolveMessage(pb.ResolveMessageRequest(message_id="x")))
    assert set(failure.fields) == {"message_id", "resolution"}
    request = pb.ResolveMessageRequest(message_id=UNKNOWN, resolution=pb.RESOLUTION_SENT)
    failure = await failure_of(admin(served).ResolveMessage(request))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "MESSAGE_NOT_FOUND")
    served.emails.log.available = False
    failure = await failure_of(admin(served).ResolveMessage(request))
    assert failure.reason == "MESSAGE_LOG_UNAVAILABLE"
