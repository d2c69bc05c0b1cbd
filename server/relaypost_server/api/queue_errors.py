"""What can go wrong with the queue, as a google.rpc.Status."""

from google.rpc import status_pb2
from grpc import StatusCode
from relaypost.v1 import failure_pb2

from relaypost_server.api.errors import build, retry
from relaypost_server.core.message import MessageState


def too_many_streams(most: int) -> status_pb2.Status:
    return build(
        StatusCode.RESOURCE_EXHAUSTED,
        failure_pb2.ERROR_REASON_TOO_MANY_STREAMS,
        f"this gateway reads {most} SendBulk streams already, as RELAYPOST_MAX_BULK_STREAMS allows; repeat it later",
        retry(5.0),
    )


def queue_unavailable() -> status_pb2.Status:
    return build(
        StatusCode.UNAVAILABLE,
        failure_pb2.ERROR_REASON_QUEUE_UNAVAILABLE,
        "the queue cannot be reached; nothing was queued",
        retry(5.0),
    )


def batch_interrupted() -> status_pb2.Status:
    return build(
        StatusCode.UNAVAILABLE,
        failure_pb2.ERROR_REASON_QUEUE_UNAVAILABLE,
        "the queue cannot be reached; a part of the batch may have been queued: repeat the stream with the same "
        "request_id, and what is queued already is not queued again",
        retry(5.0),
    )


def queue_in_doubt(*, keyed: bool) -> status_pb2.Status:
    """`keyed`: the request has a name, so that it may be repeated."""
    text = "the database did not say whether it stored the message, which may have been queued: "
    if keyed:
        text += "repeat the call with the same request_id, and it is queued once"
    else:
        text += "repeat the call only where a second message does no harm, and give it a request_id"
    details = [retry(5.0)] if keyed else []
    return build(StatusCode.UNAVAILABLE, failure_pb2.ERROR_REASON_QUEUE_IN_DOUBT, text, *details)


def not_queued(state: MessageState) -> status_pb2.Status:
    return build(
        StatusCode.FAILED_PRECONDITION,
        failure_pb2.ERROR_REASON_MESSAGE_NOT_QUEUED,
        f"the message is {state.name} and was not changed; only a message that waits in the queue, or a dead letter, "
        "can be cancelled",
    )


def not_dead(state: MessageState) -> status_pb2.Status:
    return build(
        StatusCode.FAILED_PRECONDITION,
        failure_pb2.ERROR_REASON_MESSAGE_NOT_DEAD,
        f"the message is {state.name} and was not changed; only a dead letter can be requeued "
        "(ListDeadLetters shows them)",
    )


def batch_not_found() -> status_pb2.Status:
    return build(
        StatusCode.NOT_FOUND, failure_pb2.ERROR_REASON_BATCH_NOT_FOUND, "there is no batch with this id or name"
    )
