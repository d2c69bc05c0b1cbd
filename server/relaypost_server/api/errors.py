"""Makes a google.rpc.Status of everything that can go wrong.

An error means that nothing was sent. What may have been sent is answered with
OK and the state UNCONFIRMED, so a client that retries errors sends no duplicate.
"""

from collections.abc import Mapping, Sequence

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from relaypost.v1 import failure_pb2, message_pb2

from relaypost_server.api import pack
from relaypost_server.api.violations import InvalidRequestError
from relaypost_server.core.failover import Attempt, Ending, Verdict
from relaypost_server.core.message import Channel
from relaypost_server.core.outcome import Kind
from relaypost_server.core.redaction import mask
from relaypost_server.core.webhook import MOST_ENDPOINTS
from relaypost_server.flow.send import Sent

DOMAIN = "relaypost"


class ApiError(Exception):
    """Ends a call with this status."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


def build(
    code: StatusCode,
    reason: "failure_pb2.ErrorReason.ValueType",
    text: str,
    *details: Message,
    metadata: Mapping[str, str] | None = None,
) -> status_pb2.Status:
    """A status with an ErrorInfo and further details."""
    name = failure_pb2.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
    info = error_details_pb2.ErrorInfo(reason=name, domain=DOMAIN, metadata=metadata)
    packed = []
    for detail in (info, *details):
        packed.append(Any())
        packed[-1].Pack(detail)
    number: int = code.value[0]
    return status_pb2.Status(code=number, message=text, details=packed)


def invalid(error: InvalidRequestError) -> status_pb2.Status:
    fields = [
        error_details_pb2.BadRequest.FieldViolation(field=field, description=complaint)
        for field, complaint in error.violations
    ]
    text = "; ".join(f"{field} {complaint}" for field, complaint in error.violations[:3])
    if len(error.violations) > 3:
        text += f"; and {len(error.violations) - 3} more"
    return build(
        StatusCode.INVALID_ARGUMENT,
        failure_pb2.ERROR_REASON_INVALID_FIELD,
        text,
        error_details_pb2.BadRequest(field_violations=fields),
    )


def too_many_watchers() -> status_pb2.Status:
    return build(
        StatusCode.RESOURCE_EXHAUSTED,
        failure_pb2.ERROR_REASON_TOO_MANY_WATCHERS,
        "too many messages or batches are watched at this gateway",
        retry(5.0),
    )


def malformed() -> status_pb2.Status:
    return build(
        StatusCode.INVALID_ARGUMENT,
        failure_pb2.ERROR_REASON_MALFORMED_REQUEST,
        "the request is not a protobuf message of this method",
    )


def not_configured(channel: Channel) -> status_pb2.Status:
    return build(
        StatusCode.FAILED_PRECONDITION,
        failure_pb2.ERROR_REASON_CHANNEL_NOT_CONFIGURED,
        f"no {channel.value} provider is configured",
    )


def out_of_time() -> status_pb2.Status:
    return build(
        StatusCode.DEADLINE_EXCEEDED,
        failure_pb2.ERROR_REASON_SEND_DEADLINE,
        "the deadline was over before anything was tried",
    )


def message_not_found() -> status_pb2.Status:
    return build(StatusCode.NOT_FOUND, failure_pb2.ERROR_REASON_MESSAGE_NOT_FOUND, "there is no message with this id")


def log_unavailable() -> status_pb2.Status:
    return build(
        StatusCode.UNAVAILABLE,
        failure_pb2.ERROR_REASON_MESSAGE_LOG_UNAVAILABLE,
        "the message log cannot be read now; sending goes on",
        retry(5.0),
    )


def reports_busy() -> status_pb2.Status:
    return build(
        StatusCode.RESOURCE_EXHAUSTED,
        failure_pb2.ERROR_REASON_TOO_MANY_REPORTS,
        "this gateway runs and queues as many reports and listings as its settings allow; repeat the call later",
        retry(5.0),
    )


def report_too_slow() -> status_pb2.Status:
    return build(
        StatusCode.RESOURCE_EXHAUSTED,
        failure_pb2.ERROR_REASON_REPORT_TOO_SLOW,
        "the report took longer than RELAYPOST_DATABASE_REPORT_SECONDS: request fewer days, or add filters",
        retry(30.0),
    )


def request_reused() -> status_pb2.Status:
    return build(
        StatusCode.ALREADY_EXISTS,
        failure_pb2.ERROR_REASON_REQUEST_ID_REUSED,
        "an earlier request had this request_id and other content",
    )


def request_in_progress() -> status_pb2.Status:
    return build(
        StatusCode.ABORTED,
        failure_pb2.ERROR_REASON_REQUEST_IN_PROGRESS,
        "a request with this request_id is still running",
        retry(1.0),
    )


def idempotency_unavailable() -> status_pb2.Status:
    return build(
        StatusCode.UNAVAILABLE,
        failure_pb2.ERROR_REASON_IDEMPOTENCY_UNAVAILABLE,
        "the database that could prove the request_id new cannot be reached; nothing was sent",
        retry(5.0),
    )


def not_unconfirmed() -> status_pb2.Status:
    return build(
        StatusCode.FAILED_PRECONDITION,
        failure_pb2.ERROR_REASON_MESSAGE_NOT_UNCONFIRMED,
        "the message is not UNCONFIRMED: there is nothing to resolve",
    )


def webhook_not_found() -> status_pb2.Status:
    return build(
        StatusCode.NOT_FOUND,
        failure_pb2.ERROR_REASON_WEBHOOK_NOT_FOUND,
        "the caller has no webhook endpoint or delivery with this id",
    )


def webhook_limit_reached() -> status_pb2.Status:
    return build(
        StatusCode.RESOURCE_EXHAUSTED,
        failure_pb2.ERROR_REASON_WEBHOOK_LIMIT_REACHED,
        f"the caller has {MOST_ENDPOINTS} webhook endpoints: delete one first",
    )


def shutting_down() -> status_pb2.Status:
    """For a call that changed nothing, or that may be repeated safely."""
    return build(
        StatusCode.UNAVAILABLE,
        failure_pb2.ERROR_REASON_SHUTTING_DOWN,
        "this gateway is shutting down: repeat the call, which another gateway will answer",
        retry(1.0),
    )


def shut_down() -> status_pb2.Status:
    """For a call that was cut off: it may have taken effect."""
    return build(
        StatusCode.UNAVAILABLE,
        failure_pb2.ERROR_REASON_SHUTTING_DOWN,
        "this gateway shut down before the call ended, and the call may have taken effect: "
        "repeat it only with the same request_id, or if it is safe to do twice",
    )


def internal(incident_id: str) -> status_pb2.Status:
    return build(
        StatusCode.INTERNAL,
        failure_pb2.ERROR_REASON_INTERNAL,
        "internal error",
        metadata={"incident_id": incident_id},
    )


def of_verdict(sent: Sent) -> status_pb2.Status | None:
    """The failure of a send, or None where there is a message to answer with."""
    verdict = sent.verdict
    if verdict.ending in (Ending.SENT, Ending.UNCONFIRMED):
        return None
    failure = failure_pb2.SendFailure(message_id=sent.record.id)
    for attempt in sent.record.attempts:
        _fill_attempt(failure.attempts.add(), attempt)
    match verdict.ending:
        case Ending.REJECTED:
            return build(
                StatusCode.FAILED_PRECONDITION,
                failure_pb2.ERROR_REASON_MESSAGE_REJECTED,
                _rejection(sent.record.attempts),
                failure,
            )
        case Ending.SUPPRESSED:
            return build(
                StatusCode.FAILED_PRECONDITION,
                failure_pb2.ERROR_REASON_SUPPRESSED,
                "every recipient is on the suppression list; nothing was sent",
                failure,
            )
        case Ending.DEADLINE:
            return build(
                StatusCode.DEADLINE_EXCEEDED,
                failure_pb2.ERROR_REASON_SEND_DEADLINE,
                "the deadline left no time for another attempt; nothing was sent",
                failure,
            )
        case Ending.OVER_BUDGET:
            return build(
                StatusCode.RESOURCE_EXHAUSTED,
                failure_pb2.ERROR_REASON_BUDGET_EXHAUSTED,
                "the caller's budget of the month is used up; nothing was sent",
                quota({f"caller:{sent.record.caller}": "the budget of the month is used up"}),
                failure,
            )
        case Ending.NOT_ON_RECORD:
            return build(
                StatusCode.UNAVAILABLE,
                failure_pb2.ERROR_REASON_IDEMPOTENCY_UNAVAILABLE,
                "the database went away between two attempts; nothing was sent",
                failure,
                retry(5.0),
            )
    return _exhausted(verdict, failure)


def _rejection(attempts: Sequence[Attempt]) -> str:
    rejecting = [a.provider for a in attempts if a.kind is Kind.REJECTED]
    if rejecting:
        return f"{rejecting[-1]} rejected the message"
    return "every provider refused the message, and one of them because there is no such recipient"


def _fill_attempt(packed: message_pb2.Attempt, attempt: Attempt) -> None:
    """Masks addresses, because callers write errors to their logs."""
    pack.fill_attempt(packed, attempt)
    for refused in packed.refused_recipients:
        refused.address = mask(refused.address)


def _exhausted(verdict: Verdict, failure: failure_pb2.SendFailure) -> status_pb2.Status:
    reason, text = failure_pb2.ERROR_REASON_PROVIDERS_EXHAUSTED, "no provider took the message; nothing was sent"
    if verdict.retry_after is None:
        return build(StatusCode.FAILED_PRECONDITION, reason, text, failure)
    return build(StatusCode.UNAVAILABLE, reason, text, failure, retry(verdict.retry_after))


def quota(reached: Mapping[str, str]) -> error_details_pb2.QuotaFailure:
    """`reached`: descriptions by subjects."""
    violations = [error_details_pb2.QuotaFailure.Violation(subject=s, description=d) for s, d in reached.items()]
    return error_details_pb2.QuotaFailure(violations=violations)


def retry(seconds: float) -> error_details_pb2.RetryInfo:
    delay = Duration()
    delay.FromMilliseconds(round(seconds * 1000))
    return error_details_pb2.RetryInfo(retry_delay=delay)
