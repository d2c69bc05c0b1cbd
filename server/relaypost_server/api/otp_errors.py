"""What can go wrong with one-time passwords, as a google.rpc.Status."""

from google.rpc import status_pb2
from grpc import StatusCode
from relaypost.v1 import failure_pb2

from relaypost_server.api.errors import build, quota, retry
from relaypost_server.core.limits import LimitReachedError


def not_verified() -> status_pb2.Status:
    """One answer, whatever was wrong: anything else would tell a guesser which ids and codes there are."""
    return build(
        StatusCode.INVALID_ARGUMENT,
        failure_pb2.ERROR_REASON_OTP_NOT_VERIFIED,
        "the code is not right, or not valid any more",
    )


def attempts_used_up() -> status_pb2.Status:
    return build(
        StatusCode.RESOURCE_EXHAUSTED,
        failure_pb2.ERROR_REASON_OTP_ATTEMPTS_USED_UP,
        "the attempts of this code are used up; a new code is needed",
    )


def limit_reached(error: LimitReachedError) -> status_pb2.Status:
    reached = {f"limit:{r.limit}": f"lets one through again in {r.retry_after:.0f} s" for r in error.refusals}
    return build(
        StatusCode.RESOURCE_EXHAUSTED,
        failure_pb2.ERROR_REASON_OTP_LIMIT_REACHED,
        f"a limit is reached: {error}",
        quota(reached),
        retry(error.retry_after),
    )


def over() -> status_pb2.Status:
    return build(
        StatusCode.FAILED_PRECONDITION,
        failure_pb2.ERROR_REASON_OTP_OVER,
        "there is no living code of this name; a new one is needed",
    )


def country_not_allowed() -> status_pb2.Status:
    return build(
        StatusCode.FAILED_PRECONDITION,
        failure_pb2.ERROR_REASON_OTP_COUNTRY_NOT_ALLOWED,
        "codes are not sent to phones of this country",
    )


def unavailable() -> status_pb2.Status:
    return build(
        StatusCode.UNAVAILABLE,
        failure_pb2.ERROR_REASON_OTP_UNAVAILABLE,
        "the database that keeps codes cannot be reached; nothing was sent",
        retry(5.0),
    )
