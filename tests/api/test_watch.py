"""WatchMessage: a message as it changes."""

import asyncio
from dataclasses import replace

import grpc
import pytest
from relaypost import AsyncClient, Client, RelaypostError
from relaypost.v1 import message_pb2, messaging_service_pb2 as pb

from relaypost_server.core.message import MessageState
from relaypost_server.core.record import MessageRecord
from relaypost_server.flow import watch
from tests.api.conftest import Serve, Served
from tests.store.records import record

SENT, DELIVERED = message_pb2.MESSAGE_STATE_SENT, message_pb2.MESSAGE_STATE_DELIVERED


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.02)


def changed(served: Served, before: MessageRecord, state: MessageState) -> MessageRecord:
    """The record in another state, in the log."""
    after = replace(before, state=state)
    served.emails.log.records[:] = [after]
    return after


async def next_state(stream: "grpc.aio.UnaryStreamCall[pb.WatchMessageRequest, pb.WatchMessageResponse]") -> int:
    async with asyncio.timeout(10):
        answer = await stream.read()
    assert isinstance(answer, pb.WatchMessageResponse)
    return answer.message.state


async def test_a_message_is_shown_at_once_and_after_each_change_until_it_is_final(serve: Serve) -> None:
    served, made = await serve(), record(state=MessageState.SENT)
    served.emails.log.records.append(made)
    stream = served.stub.WatchMessage(pb.WatchMessageRequest(message_id=made.id))
    assert await next_state(stream) == SENT
    deferred = changed(served, made, MessageState.DEFERRED)
    assert await next_state(stream) == message_pb2.MESSAGE_STATE_DEFERRED
    changed(served, deferred, MessageState.DELIVERED)
    assert await next_state(stream) == DELIVERED
    async with asyncio.timeout(10):
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK


async def test_a_final_message_is_shown_once(serve: Serve) -> None:
    served, made = await serve(), record(state=MessageState.REJECTED)
    served.emails.log.records.append(made)
    stream = served.stub.WatchMessage(pb.WatchMessageRequest(message_id=made.id))
    assert [a.message.state async for a in stream] == [message_pb2.MESSAGE_STATE_REJECTED]


@pytest.mark.parametrize(
    ("message_id", "code", "reason"),
    [
        (record().id, grpc.StatusCode.NOT_FOUND, "MESSAGE_NOT_FOUND"),
        ("x", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    ],
)
async def test_what_cannot_be_watched(serve: Serve, message_id: str, code: grpc.StatusCode, reason: str) -> None:
    served = await serve()
    async with AsyncClient(channel=served.channel) as client:
        with pytest.raises(RelaypostError) as caught:
            [m async for m in client.watch_message(message_id)]
    assert (caught.value.code, caught.value.reason) == (code, reason)


async def test_without_the_log_a_watch_fails_and_an_outage_in_between_is_outlasted(serve: Serve) -> None:
    served, made = await serve(), record(state=MessageState.SENT)
    served.emails.log.records.append(made)
    stream = served.stub.WatchMessage(pb.WatchMessageRequest(message_id=made.id))
    assert await next_state(stream) == SENT
    served.emails.log.available = False
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.stub.WatchMessage(pb.WatchMessageRequest(message_id=made.id)).read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    changed(served, made, MessageState.DELIVERED)
    served.emails.log.available = True
    assert await next_state(stream) == DELIVERED


async def test_there_is_a_bound_which_those_who_leave_give_back(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MOST_WATCHERS", 1)
    served, made = await serve(), record(state=MessageState.SENT)
    served.emails.log.records.append(made)
    request = pb.WatchMessageRequest(message_id=made.id)
    first = served.stub.WatchMessage(request)
    assert await next_state(first) == SENT
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.stub.WatchMessage(request).read()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    first.cancel()
    async with asyncio.timeout(10):
        while served.watcher.watchers:
            await asyncio.sleep(0.01)
    assert await next_state(served.stub.WatchMessage(request)) == SENT


async def test_the_callers_deadline_ends_a_watch_without_a_word(serve: Serve) -> None:
    served, made = await serve(), record(state=MessageState.SENT)
    served.emails.log.records.append(made)
    async with AsyncClient(channel=served.channel) as client:
        assert [m.state async for m in client.watch_message(made.id, timeout=0.5)] == [SENT]

    def in_a_thread() -> list[int]:
        with Client(served.target) as client:
            return [m.state for m in client.watch_message(made.id, timeout=0.5)]

    assert await asyncio.to_thread(in_a_thread) == [SENT]


async def test_a_watch_without_a_deadline_ends_all_the_same(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LONGEST_WATCH", 0.3)
    served, made = await serve(), record(state=MessageState.SENT)
    served.emails.log.records.append(made)
    async with asyncio.timeout(10), AsyncClient(channel=served.channel) as client:
        assert [m.state async for m in client.watch_message(made.id)] == [SENT]


async def test_a_gateway_that_stops_ends_every_watch(serve: Serve) -> None:
    served, made = await serve(), record(state=MessageState.SENT)
    served.emails.log.records.append(made)
    streams = [served.stub.WatchMessage(pb.WatchMessageRequest(message_id=made.id)) for _ in range(3)]
    assert [await next_state(s) for s in streams] == [SENT] * 3
    await served.watcher.stop()
    async with asyncio.timeout(10):
        assert [await s.code() for s in streams] == [grpc.StatusCode.OK] * 3
