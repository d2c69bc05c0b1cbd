"""Callers that go away, hurry, or send what is no request: rows 22 to 25 of the fault matrix."""

import asyncio
from typing import Any

import grpc
import pytest
from relaypost.v1 import message_pb2, messaging_service_pb2 as pb

from tests.api.status import failure_of
from tests.api.test_validation import email
from tests.fakes.http import Reply
from tests.faults.database import read_log
from tests.faults.providers import TAKEN
from tests.faults.world import World, until, world

MIB = 1024 * 1024
METHOD = "/relaypost.v1.MessagingService/SendEmail"


async def test_a_caller_who_cancels_stops_neither_the_attempt_nor_its_record(bundled_database: str) -> None:
    """Row 22: what became of it is on record, and no second provider is asked."""
    async with world(bundled_database) as running:
        ses = running.providers.ses
        ses.always(Reply(then="reset", delay=0.4))
        sending = asyncio.create_task(running.email(token="gone"))
        await until(lambda: len(ses.received) == 1)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        async with asyncio.timeout(10):
            while not (found := await read_log(bundled_database)):
                await asyncio.sleep(0.05)
    (entry,) = found
    assert (entry.token, entry.attempts) == ("gone", (("ses", "unconfirmed"),))
    assert running.providers.counts == {"ses": 1}


async def test_a_deadline_without_room_for_an_attempt_sends_nothing(bundled_database: str) -> None:
    """Row 23: none, 50 ms, and just under one attempt (1 s) with what the answer needs (0.2 s)."""
    async with world(bundled_database) as running:
        for seconds in (0.0, 0.05, 1.15):
            failure = await failure_of(running.client.stub.SendEmail(email(), timeout=seconds))
            assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await running.email(timeout=3.0)).state == message_pb2.MESSAGE_STATE_SENT
        assert running.providers.counts == {"ses": 1}


async def test_a_deadline_that_ends_during_an_attempt_leaves_a_record(bundled_database: str) -> None:
    """Row 23: the attempt began, and is cut off in time for the answer."""
    async with world(bundled_database, {"RELAYPOST_SES_TIMEOUT_SECONDS": "10"}) as running:
        running.providers.ses.always(Reply(TAKEN["ses"].data, delay=5.0))
        message = await running.email(timeout=1.5, at_most_once=True)
        assert message.state == message_pb2.MESSAGE_STATE_UNCONFIRMED
        assert running.providers.counts == {"ses": 1}


async def raw(running: World, body: bytes, **options: Any) -> Any:
    """Calls SendEmail with these bytes."""
    channel: Any = grpc.aio.insecure_channel(
        running.gateway.grpc, options=[("grpc.max_send_message_length", 128 * MIB)]
    )
    async with channel:
        return await channel.unary_unary(METHOD)(body, **options)


async def test_what_is_too_large_is_refused_and_takes_no_memory(bundled_database: str) -> None:
    """Row 24: messages over the limit, and 20 KiB of metadata."""
    async with world(bundled_database, {"RELAYPOST_MAX_REQUEST_BYTES": str(4 * MIB)}) as running:
        await running.email()
        before = running.memory()
        for _ in range(10):
            failure = await failure_of(raw(running, b"x" * (32 * MIB)))
            assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            failure = await failure_of(raw(running, b"", metadata=(("x-large", "x" * 20 * 1024),)))
            assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert running.memory() - before < 192 * MIB  # Of 320 MiB that were sent.
        assert (await running.email()).state == message_pb2.MESSAGE_STATE_SENT


def with_nul() -> pb.SendEmailRequest:
    request = email()
    request.email.subject = "a\x00b"
    return request


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"\x0a\xff", "MALFORMED_REQUEST", id="truncated"),
        pytest.param(b"\x0a\x04\x2a\x02\xff\xfe", "MALFORMED_REQUEST", id="not UTF-8"),
        pytest.param(with_nul().SerializeToString(), "INVALID_FIELD", id="NUL"),
    ],
)
async def test_bytes_that_are_no_request_show_nothing_internal(body: bytes, reason: str, bundled_database: str) -> None:
    """Row 25."""
    async with world(bundled_database) as running:
        failure = await failure_of(raw(running, body))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
        for words in ("Traceback", "Error", ".py", "protobuf."):
            assert words not in failure.text
        assert "internal error" not in "".join(running.gateway.raw)
        assert running.providers.counts == {}
