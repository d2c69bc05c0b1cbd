"""What happens around every call: span, deadline, metrics, and errors without internals.

It wraps the methods as they are registered. A gRPC interceptor would do the
same for half as much again of what a bare call costs.
"""

import asyncio
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
from relaypost_server.api.in_flight import Calls, InFlight
from relaypost_server.api.violations import InvalidRequestError
from relaypost_server.api.wire import is_overfull
from relaypost_server.core.ports import LogUnavailableError, ReportsBusyError, ReportTooSlowError
from relaypost_server.telemetry.metrics import Metrics
from relaypost_server.telemetry.tracing import CallSpan, Tracing

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Behaviour = Callable[[Any, Context], Awaitable[Any]]
StreamBehaviour = Callable[[Any, Context], AsyncIterator[Any]]
Conversation = Callable[[AsyncIterator[Any], Context], AsyncIterator[Any]]
MethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_CODES = {code.value[0]: code.name for code in grpc.StatusCode}
_SERVER_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Codes that mark a server span as failed (OpenTelemetry's conventions for gRPC)."""
MALFORMED = object()
"""Stands for a request that could not be read."""

log = structlog.get_logger("relaypost.api")


class Edge:
    """Stands in for the server where a generated `add_..._to_server` registers its methods."""

    def __init__(self, server: grpc.aio.Server, *, tracing: Tracing, metrics: Metrics) -> None:
        self._server = server
        self._tracing = tracing
        self._metrics = metrics
        self.in_flight = InFlight()

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, MethodHandler]) -> None:
        """The generated code's own call; the wrapped methods all go the generic way."""
        wrapped = {name: self._wrap(f"{service}/{name}", handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """The same methods once more, unwrapped: left out."""

    def _wrap(self, method: str, handler: MethodHandler) -> MethodHandler:
        deserialize = _tolerant(cast(Callable[[bytes], Any], handler.request_deserializer))
        if handler.stream_unary is not None:
            return self._fed(method, handler, deserialize)
        if handler.unary_unary is None:
            return (
                _stream(handler, deserialize, self.in_flight.streams)
                if method.startswith("grpc.")
                else self._watched(method, handler, deserialize)
            )
        call = self._answered(method, cast(Behaviour, handler.unary_unary), errors.shut_down())
        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=deserialize,
            response_serializer=handler.response_serializer,
        )

    def _answered(self, method: str, behaviour: Behaviour, cut_off: status_pb2.Status) -> Behaviour:
        """A method with one answer, in its span. `cut_off`: the status of a call that a shutdown cancels."""
        calls = self.in_flight.calls
        tasks = calls.tasks

        async def call(request: Any, context: Context) -> Any:
            span = self._tracing.begin_call(method, context.invocation_metadata())
            answer, failure = None, _refusal(request, context)
            tasks.add(task := cast("asyncio.Task[Any]", asyncio.current_task()))
            try:
                try:
                    if failure is None:
                        answer = await behaviour(request, context)
                except Exception as error:
                    failure = _status_of(error)
                except asyncio.CancelledError:
                    if not calls.ending:  # The caller went away.
                        raise
                    failure = cut_off
                self._note(span, method, _CODES[failure.code] if failure else "OK")
            except grpc.aio.AbortError:  # The health service says so that it does not know a name.
                self._note(span, method, context.code().name)
                raise
            finally:
                tasks.discard(task)
                span.end()
            if failure is not None:
                await context.abort_with_status(rpc_status.to_status(failure))
            return answer

        return call

    def _fed(self, method: str, handler: MethodHandler, deserialize: Callable[[bytes], Any]) -> MethodHandler:
        """A stream of requests with one answer."""
        return grpc.stream_unary_rpc_method_handler(
            self._answered(method, cast(Behaviour, handler.stream_unary), errors.shutting_down()),
            request_deserializer=deserialize,
            response_serializer=handler.response_serializer,
        )

    def _watched(self, method: str, handler: MethodHandler, deserialize: Callable[[bytes], Any]) -> MethodHandler:
        """A stream of ours. It has no span, for it may last for an hour."""
        behaviour, streams = cast(StreamBehaviour, handler.unary_stream), self.in_flight.streams

        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            failure = _refusal(request, context)
            try:
                with streams.one():
                    if failure is None:
                        async for answer in behaviour(request, context):
                            yield answer
            except Exception as error:
                failure = _status_of(error)
            except asyncio.CancelledError:
                if not streams.ending:  # The caller went away.
                    raise
                failure = errors.shutting_down()
            self._metrics.call(method, _CODES[failure.code] if failure else "OK")
            if failure is not None:
                await context.abort_with_status(rpc_status.to_status(failure))

        return grpc.unary_stream_rpc_method_handler(
            call,
            request_deserializer=deserialize,
            response_serializer=handler.response_serializer,
        )

    def _note(self, span: CallSpan, method: str, code: str) -> None:
        self._metrics.call(method, code)
        span.note(code, failed=code in _SERVER_FAULTS)


def _stream(handler: MethodHandler, deserialize: Callable[[bytes], Any], streams: Calls) -> MethodHandler:
    """Health watches and reflection: nothing happens around them, but they too get malformed requests."""
    if handler.unary_stream is not None:
        return grpc.unary_stream_rpc_method_handler(
            _watch(cast(Behaviour, handler.unary_stream), streams),
            request_deserializer=deserialize,
            response_serializer=handler.response_serializer,
        )
    return grpc.stream_stream_rpc_method_handler(
        _converse(cast(Conversation, handler.stream_stream), streams),
        request_deserializer=deserialize,
        response_serializer=handler.response_serializer,
    )


def _watch(behaviour: Behaviour, streams: Calls) -> Behaviour:
    async def watch(request: Any, context: Context) -> None:
        await _refuse_malformed(request, context)
        try:
            with streams.one():
                await behaviour(request, context)
        except asyncio.CancelledError:
            if not streams.ending:  # The caller went away.
                raise
            await context.abort_with_status(rpc_status.to_status(errors.shutting_down()))

    return watch


def _converse(behaviour: Conversation, streams: Calls) -> Conversation:
    async def readable(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        async for request in requests:
            await _refuse_malformed(request, context)
            yield request

    async def converse(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        try:
            with streams.one():
                async for answer in behaviour(readable(requests, context), context):
                    yield answer
        except asyncio.CancelledError:
            if not streams.ending:  # The caller went away.
                raise
            await context.abort_with_status(rpc_status.to_status(errors.shutting_down()))

    return converse


async def _refuse_malformed(request: Any, context: Context) -> None:
    if request is MALFORMED:
        await context.abort_with_status(rpc_status.to_status(errors.malformed()))


def _refusal(request: Any, context: Context) -> status_pb2.Status | None:
    """Why the method is not called at all."""
    if request is MALFORMED:
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
        case ReportsBusyError():
            return errors.reports_busy()
        case ReportTooSlowError():
            return errors.report_too_slow()
        case LogUnavailableError():
            return errors.log_unavailable()
        case grpc.aio.AbortError():
            raise error
    # The text of an exception would reach the caller: only an id does.
    incident_id = uuid.uuid4().hex
    log.error("internal error", incident_id=incident_id, exc_info=error)
    return errors.internal(incident_id)


def _tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """gRPC answers UNKNOWN where a deserializer raises: this one does not."""
    descriptor = cast(Any, deserialize).__self__.DESCRIPTOR  # It is a message's own `FromString`.

    def read(data: bytes) -> Any:
        if is_overfull(data, descriptor):
            return MALFORMED
        try:
            return deserialize(data)
        except (DecodeError, ValueError):
            return MALFORMED

    return read
