"""What happens around every call: span, deadline, metrics, and errors without internals.

It wraps the methods as they are registered. A gRPC interceptor would do the
same for half as much again of what a bare call costs.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias, cast

import grpc
import structlog
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from grpc_status import rpc_status

from relaypost_server.api import errors
from relaypost_server.api.errors import ApiError
from relaypost_server.api.violations import InvalidRequestError
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.telemetry.metrics import Metrics
from relaypost_server.telemetry.tracing import Tracing

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Behaviour = Callable[[Any, Context], Awaitable[Any]]
StreamBehaviour = Callable[[Any, Context], AsyncIterator[Any]]
MethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_CODES = {code.value[0]: code.name for code in grpc.StatusCode}
_SERVER_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Codes that mark a server span as failed (OpenTelemetry's conventions for gRPC)."""
_MALFORMED = object()
"""Stands for a request that could not be read."""

log = structlog.get_logger("relaypost.api")


class Edge:
    """Stands in for the server where a generated `add_..._to_server` registers its methods."""

    def __init__(self, server: grpc.aio.Server, *, tracing: Tracing, metrics: Metrics) -> None:
        self._server = server
        self._tracing = tracing
        self._metrics = metrics

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, MethodHandler]) -> None:
        """The generated code's own call; the wrapped methods all go the generic way."""
        wrapped = {name: self._wrap(f"{service}/{name}", handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """The same methods once more, unwrapped: left out."""

    def _wrap(self, method: str, handler: MethodHandler) -> MethodHandler:
        if handler.unary_unary is None:
            return self._wrap_stream(method, handler)
        behaviour = cast(Behaviour, handler.unary_unary)

        async def call(request: Any, context: Context) -> Any:
            span = self._tracing.begin_call(method, context.invocation_metadata())
            try:
                answer = await _answer(behaviour, request, context)
                failure = answer if isinstance(answer, status_pb2.Status) else None
                code = _CODES[failure.code] if failure else "OK"
                self._metrics.call(method, code)
                span.note(code, failed=code in _SERVER_FAULTS)
            finally:
                span.end()
            if failure is not None:
                await context.abort_with_status(rpc_status.to_status(failure))
            return answer

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=_tolerant(cast(Callable[[bytes], Any], handler.request_deserializer)),
            response_serializer=handler.response_serializer,
        )

    def _wrap_stream(self, method: str, handler: MethodHandler) -> MethodHandler:
        """A stream of ours has no span, for it may last for an hour; another's, such as health's, passes as it is."""
        if method.startswith("grpc."):
            return handler
        behaviour = cast(StreamBehaviour, handler.unary_stream)

        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            failure = _refusal(request, context)
            try:
                if failure is None:
                    async for answer in behaviour(request, context):
                        yield answer
            except Exception as error:
                failure = _status_of(error)
            self._metrics.call(method, _CODES[failure.code] if failure else "OK")
            if failure is not None:
                await context.abort_with_status(rpc_status.to_status(failure))

        return grpc.unary_stream_rpc_method_handler(
            call,
            request_deserializer=_tolerant(cast(Callable[[bytes], Any], handler.request_deserializer)),
            response_serializer=handler.response_serializer,
        )


async def _answer(behaviour: Behaviour, request: Any, context: Context) -> Any:
    """The method's answer, or the status of whatever went wrong."""
    refusal = _refusal(request, context)
    if refusal is not None:
        return refusal
    try:
        return await behaviour(request, context)
    except Exception as error:
        return _status_of(error)


def _refusal(request: Any, context: Context) -> status_pb2.Status | None:
    """Why the method is not called at all."""
    if request is _MALFORMED:
        return errors.malformed()
    if context.time_remaining() == 0:  # gRPC hands such calls over all the same.
        return errors.out_of_time()
    return None


def _status_of(error: Exception) -> status_pb2.Status:
    match error:
        case ApiError():
            return error.status
        case InvalidRequestError():
            return errors.invalid(error)
        case LogUnavailableError():
            return errors.log_unavailable()
    # The text of an exception would reach the caller: only an id does.
    incident_id = uuid.uuid4().hex
    log.error("internal error", incident_id=incident_id, exc_info=error)
    return errors.internal(incident_id)


def _tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """gRPC answers UNKNOWN where a deserializer raises: this one does not."""

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except (DecodeError, ValueError):
            return _MALFORMED

    return read
