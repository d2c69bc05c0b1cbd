"""What a failed call tells.

An error means that nothing was sent. A message that may have been sent is no
error: it comes back in the state MESSAGE_STATE_UNCONFIRMED.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from relaypost.v1 import failure_pb2, message_pb2

D = TypeVar("D", bound=Message)


@dataclass(frozen=True)
class FieldViolation:
    """A field of the request that is not valid, and why."""

    field: str
    description: str


class RelaypostError(Exception):
    """A call that failed."""

    def __init__(self, code: grpc.StatusCode, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.code = code
        self._status = status

    @property
    def reason(self) -> str:
        """The reason as `relaypost.v1.ErrorReason` documents it, for example "PROVIDERS_EXHAUSTED".

        Empty where the failure did not come from the gateway itself.
        """
        reason: str = self._detail(error_details_pb2.ErrorInfo).reason
        return reason

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the same call may succeed; None where it would not."""
        info = self._detail(error_details_pb2.RetryInfo)
        if not info.HasField("retry_delay"):
            return None
        seconds: float = info.retry_delay.ToMilliseconds() / 1000
        return seconds

    def as_dict(self) -> dict[str, Any]:
        """Everything the failure tells, in plain values."""
        return {
            "code": self.code.name,
            "message": self._status.message,
            "details": [MessageToDict(packed) for packed in self._status.details],
        }

    def _detail(self, kind: type[D]) -> D:
        """The status detail of this kind, empty where there is none."""
        found = kind()
        for packed in self._status.details:
            if packed.Unpack(found):
                break
        return found


class InvalidRequestError(RelaypostError):
    """The request has fields that are not valid."""

    @property
    def violations(self) -> Sequence[FieldViolation]:
        found = self._detail(error_details_pb2.BadRequest).field_violations
        return [FieldViolation(field=v.field, description=v.description) for v in found]


class SendFailedError(RelaypostError):
    """No provider took the message."""

    @property
    def message_id(self) -> str:
        return self._detail(failure_pb2.SendFailure).message_id

    @property
    def attempts(self) -> Sequence[message_pb2.Attempt]:
        """Every attempt, in order."""
        return list(self._detail(failure_pb2.SendFailure).attempts)


class OtpNotVerifiedError(RelaypostError):
    """The code was not accepted: wrong, expired, used, or unknown, or its attempts are used up.

    Only `reason` "OTP_ATTEMPTS_USED_UP" tells more: a new code is needed.
    """


class OtpLimitError(RelaypostError):
    """A limit against abuse is reached; `retry_after` says for how long."""

    @property
    def limits(self) -> Sequence[str]:
        """The limits, for example "destination_day"."""
        violations = self._detail(error_details_pb2.QuotaFailure).violations
        return [v.subject.removeprefix("limit:") for v in violations]


_KINDS: Mapping[str, type[RelaypostError]] = {
    "BUDGET_EXHAUSTED": SendFailedError,
    "INVALID_FIELD": InvalidRequestError,
    "MESSAGE_REJECTED": SendFailedError,
    "OTP_ATTEMPTS_USED_UP": OtpNotVerifiedError,
    "OTP_LIMIT_REACHED": OtpLimitError,
    "OTP_NOT_VERIFIED": OtpNotVerifiedError,
    "PROVIDERS_EXHAUSTED": SendFailedError,
    "SEND_DEADLINE": SendFailedError,
    "SUPPRESSED": SendFailedError,
}


def from_rpc_error(error: grpc.RpcError) -> RelaypostError:
    """The error with its details unpacked."""
    call = cast(grpc.Call, error)  # What stubs raise is a call as well.
    code = call.code()
    status = rpc_status.from_call(call) or status_pb2.Status(code=code.value[0], message=call.details() or "")
    plain = RelaypostError(code, status)
    return _KINDS.get(plain.reason, RelaypostError)(code, status)
