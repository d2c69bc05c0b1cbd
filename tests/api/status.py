"""Unpacks the failures of calls."""

from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

D = TypeVar("D", bound=Message)


class Failure:
    """A failed call."""

    def __init__(self, error: grpc.RpcError) -> None:
        call: Any = error
        self.code: grpc.StatusCode = call.code()
        self.text: str = call.details()
        self._status = rpc_status.from_call(call)

    def details(self, kind: type[D]) -> list[D]:
        found = []
        for packed in self._status.details if self._status else []:
            detail = kind()
            if packed.Unpack(detail):
                found.append(detail)
        return found

    @property
    def reason(self) -> str:
        (info,) = self.details(error_details_pb2.ErrorInfo)
        assert info.domain == "relaypost"
        reason: str = info.reason
        return reason

    @property
    def fields(self) -> dict[str, str]:
        (bad,) = self.details(error_details_pb2.BadRequest)
        return {v.field: v.description for v in bad.field_violations}

    @property
    def retry_seconds(self) -> float | None:
        infos = self.details(error_details_pb2.RetryInfo)
        return infos[0].retry_delay.ToMilliseconds() / 1000 if infos else None


async def failure_of(call: Any) -> Failure:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return Failure(caught.value)
