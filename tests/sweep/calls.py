"""gRPC without its transport: the real servicers behind the real call wrapper, in virtual time.

gRPC's own threads know nothing of virtual time and do not survive a fork.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from relaypost.v1 import failure_pb2

from tests.sweep.clock import CLOCK

CALLER = "sweep"
DEADLINE_SECONDS = 20.0


class CallFailedError(Exception):
    """A call ended with a status that is not OK."""

    def __init__(self, code: str, reason: str, text: str, failure: failure_pb2.SendFailure | None) -> None:
        super().__init__(f"{code} {reason}: {text}")
        self.code = code
        self.reason = reason
        self.failure = failure
        """The message that was not sent, where the status tells of one."""


@dataclass
class _Context:
    """What a servicer sees of a call."""

    end: float
    status: status_pb2.Status | None = None
    _code: grpc.StatusCode | None = None

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return (("relaypost-caller", CALLER),)

    def time_remaining(self) -> float:
        return max(self.end - CLOCK.monotonic(), 0.0)

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def code(self) -> grpc.StatusCode | None:
        return self._code

    async def abort_with_status(self, status: Any) -> None:
        packed = next(value for key, value in status.trailing_metadata if key == "grpc-status-details-bin")
        self.status = status_pb2.Status.FromString(packed)
        raise grpc.aio.AbortError


class FakeAioServer:
    """In the place of `grpc.aio.server()`."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self._handlers: list[Any] = []
        self._calls: set[asyncio.Task[Any]] = set()
        self._stopped = False
        LATEST.append(self)

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None:
        self._handlers += handlers

    def add_registered_method_handlers(self, *_: Any) -> None: ...

    def add_insecure_port(self, address: str) -> int:
        return 1

    async def start(self) -> None: ...

    async def stop(self, grace: float | None) -> None:
        """As gRPC does: no new calls, `grace` seconds for those in flight, then they are cancelled."""
        self._stopped = True
        calls = set(self._calls)
        if calls and grace:
            _, calls = await asyncio.wait(calls, timeout=grace)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def begin(self, method: str, request: Any, answer: Callable[[bytes], Any]) -> "asyncio.Task[Any]":
        """A unary call, or a stream of requests where `request` is a list."""
        if self._stopped:
            raise CallFailedError("UNAVAILABLE", "", "the gateway has stopped", None)
        task = asyncio.create_task(self._call(method, request, answer))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return task

    async def watch(self, method: str, request: Any, answer: Callable[[bytes], Any]) -> AsyncIterator[Any]:
        """A stream of answers."""
        handler, context = self._handler(method), _Context(CLOCK.monotonic() + 3600.0)
        with contextlib.suppress(grpc.aio.AbortError):
            async for response in handler.unary_stream(request, context):
                yield response
        if context.status is not None:
            raise _failed(context.status)

    async def _call(self, method: str, request: Any, answer: Callable[[bytes], Any]) -> Any:
        handler, context = self._handler(method), _Context(CLOCK.monotonic() + DEADLINE_SECONDS)
        behaviour = handler.stream_unary if isinstance(request, list) else handler.unary_unary
        read = handler.request_deserializer
        asked: Any = (
            _stream([read(part.SerializeToString()) for part in request])
            if isinstance(request, list)
            else read(request.SerializeToString())
        )
        try:
            return answer(handler.response_serializer(await behaviour(asked, context)))
        except grpc.aio.AbortError:
            assert context.status is not None
            raise _failed(context.status) from None

    def _handler(self, method: str) -> Any:
        details: Any = type("Details", (), {"method": f"/relaypost.v1.{method}", "invocation_metadata": ()})
        return next(h for handlers in self._handlers if (h := handlers.service(details)) is not None)


LATEST: list[FakeAioServer] = []
"""Every server that was made, the newest last."""


async def _stream(parts: Sequence[Any]) -> AsyncIterator[Any]:
    for part in parts:
        yield part


def _failed(status: status_pb2.Status) -> CallFailedError:
    info, failure = error_details_pb2.ErrorInfo(), failure_pb2.SendFailure()
    found = None
    for detail in status.details:
        detail.Unpack(info)
        if detail.Unpack(failure):
            found = failure
    code = next(c.name for c in grpc.StatusCode if c.value[0] == status.code)
    return CallFailedError(code, info.reason, status.message, found)
