"""What happens around every unary call: span, deadline, metrics, and errors without internals.

It wraps the methods as they are registered. A gRPC interceptor would do the
same for half as much again of what a bare call costs.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping
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
        if handler.unary_unary is None:  # Streams, such as health watches, pass as they are.
            return handler
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


async def _answer(behaviour: Behaviour, request: Any, context: Context) -> Any:
    """The method's answer, or the status of whatever went wrong."""
    if request is _MALFORMED:
        return errors.malformed()
    if context.time_remaining() == 0:  # gRPC hands such calls over all the same.
        return errors.out_of_time()
    try:
        return await behaviour(request, context)
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
