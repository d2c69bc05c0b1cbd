"""What happens around every call: span, deadline, metrics, and errors without internals."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc
import structlog
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from grpc_status import rpc_status

from relaypost_server.api import errors
from relaypost_server.api.errors import ApiError
from relaypost_server.api.violations import InvalidRequestError
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.telemetry import tracing
from relaypost_server.telemetry.metrics import Metrics

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Callable[[Any, Context], Awaitable[Any]]
MethodHandler = grpc.RpcMethodHandler[Any, Any]
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}
_SERVER_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Codes that mark a server span as failed (OpenTelemetry's conventions for gRPC)."""

log = structlog.get_logger("relaypost.api")


class _Malformed:
    """Stands for a request that could not be read."""


_MALFORMED = _Malformed()


class Edge(grpc.aio.ServerInterceptor):
    """Wraps every unary call; streams (reflection, health watches) pass as they are."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._wrapped: dict[str, MethodHandler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[MethodHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> MethodHandler | None:
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None or handler.unary_unary is None:
                return handler
            wrapped = self._wrapped[method] = self._wrap(method.removeprefix("/"), handler)
        return wrapped

    def _wrap(self, method: str, handler: MethodHandler) -> MethodHandler:
        behaviour = cast(Handler, handler.unary_unary)
        deserialize = cast(Callable[[bytes], Any], handler.request_deserializer)

        async def call(request: Any, context: Context) -> Any:
            metadata = {k: v for k, v in context.invocation_metadata() or () if isinstance(v, str)}
            with tracing.server_span(method, metadata) as span:
                answer = await _answer(behaviour, request, context)
                failure = answer if isinstance(answer, status_pb2.Status) else None
                code = _CODES[failure.code] if failure else "OK"
                tracing.end_server_span(span, code, failed=code in _SERVER_FAULTS)
                self._metrics.call(method, code)
            if failure is not None:
                await context.abort_with_status(rpc_status.to_status(failure))
            return answer

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=_tolerant(deserialize),
            response_serializer=handler.response_serializer,
        )


async def _answer(handler: Handler, request: Any, context: Context) -> Any:
    """The handler's answer, or the status of whatever went wrong."""
    if request is _MALFORMED:
        return errors.malformed()
    time_left = context.time_remaining()
    if time_left is not None and time_left <= 0:  # gRPC hands such calls over all the same.
        return errors.out_of_time()
    try:
        return await handler(request, context)
    except ApiError as error:
        return error.status
    except InvalidRequestError as error:
        return errors.invalid(error)
    except LogUnavailableError:
        return errors.log_unavailable()
    except Exception:
        # The text of an exception would reach the caller: only an id does.
        incident_id = uuid.uuid4().hex
        log.exception("internal error", incident_id=incident_id)
        return errors.internal(incident_id)


def _tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """gRPC answers UNKNOWN where a deserializer raises: this one does not."""

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except (DecodeError, ValueError):
            return _MALFORMED

    return read
