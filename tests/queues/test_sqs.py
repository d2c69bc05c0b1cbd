"""What SQS's engine alone does."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from relaypost_server.core.queue import Lane
from relaypost_server.core.queue_ports import QueueUnavailableError
from relaypost_server.queues import _sqs_client, sqs
from relaypost_server.queues._urls import SqsAddress
from relaypost_server.queues.sqs import SqsQueue
from relaypost_server.settings import SettingsError
from tests.fakes.http import FakeHttp, Reply, Request, answer, fake_http
from tests.queues.test_engines import pointers

pytestmark = pytest.mark.usefixtures("aws_keys")
MISSING = answer(400, b'{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"secret"}')
DENIED = answer(403, b'{"__type":"com.amazonaws.sqs#AccessDenied","message":"secret"}')


@pytest.fixture
async def aws() -> AsyncIterator[FakeHttp]:
    async with fake_http() as fake:
        fake.reply = answering()
        yield fake


def queue(aws: FakeHttp, prefix: str = "mail", **changes: Any) -> SqsQueue:
    return SqsQueue(SqsAddress(region="us-east-1", prefix=prefix), endpoint=aws.url, **changes)


def answering(**replies: Reply | Callable[[dict[str, Any]], Reply]) -> Callable[[Request], Reply]:
    """As SQS does; `replies` stand for what it says to an operation."""

    def reply(request: Request) -> Reply:
        operation, body = operation_of(request), json.loads(request.body)
        told = replies.get(operation)
        if callable(told):
            return told(body)
        if told is not None:
            return told
        url = {"QueueUrl": f"http://example.com/{body.get('QueueName')}"}
        successful = [
            {"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "x"} for entry in body.get("Entries", ())
        ]
        return ok({**url, "Successful": successful, "Failed": []})

    return reply


def operation_of(request: Request) -> str:
    return request.headers["x-amz-target"].partition(".")[2]


def ok(body: object) -> Reply:
    return answer(200, json.dumps(body).encode(), Content_Type="application/x-amz-json-1.0")


async def test_a_gateway_that_may_not_make_its_queues_does_not_start(aws: FakeHttp) -> None:
    aws.reply = answering(GetQueueUrl=MISSING, CreateQueue=DENIED)
    with pytest.raises(SettingsError) as caught:
        await queue(aws).start()
    told = str(caught.value)
    assert "RELAYPOST_QUEUE_URL: names queues that AWS does not let this gateway find or make: AccessDenied" in told
    assert "Make mail-otp, mail-transactional, mail-bulk" in told
    assert "secret" not in told


async def test_a_gateway_that_aws_does_not_know_does_not_start(aws: FakeHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.always(DENIED)
    with pytest.raises(SettingsError):
        await queue(aws).start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(SettingsError, match="no AWS credentials"):
        await queue(aws).start()


async def test_queues_that_exist_are_not_made(aws: FakeHttp) -> None:
    engine = queue(aws)
    await engine.start()
    assert [operation_of(r) for r in aws.received] == ["GetQueueUrl"] * 3
    await engine.close()


async def test_what_a_batch_did_not_take_is_sent_again_alone(aws: FakeHttp) -> None:
    calls: list[list[str]] = []

    def some(body: dict[str, Any]) -> Reply:
        ids = [entry["Id"] for entry in body["Entries"]]
        calls.append(ids)
        failed = [{"Id": i, "Code": "InternalError", "SenderFault": False} for i in ids[1::2]]
        return ok(
            {"Successful": [{"Id": i, "MessageId": "m", "MD5OfMessageBody": "x"} for i in ids[::2]], "Failed": failed}
        )

    aws.reply = answering(SendMessageBatch=some)
    await queue(aws).put(pointers(7))
    assert calls == [["0", "1", "2", "3", "4", "5", "6"], ["1", "3", "5"], ["3"]]


async def test_what_no_try_gets_into_the_queue_is_told(aws: FakeHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sqs_client, "BATCH_PAUSE", 0.01)

    def none(body: dict[str, Any]) -> Reply:
        failed = [{"Id": entry["Id"], "Code": "InternalError", "SenderFault": False} for entry in body["Entries"]]
        return ok({"Successful": [], "Failed": failed})

    aws.reply = answering(SendMessageBatch=none)
    with pytest.raises(QueueUnavailableError, match="InternalError"):
        await queue(aws).put(pointers(2))


async def test_a_message_that_is_not_in_this_hand_any_more_is_no_trouble(aws: FakeHttp) -> None:
    def stale(body: dict[str, Any]) -> Reply:
        code = {"Code": "ReceiptHandleIsInvalid", "SenderFault": True}
        return ok({"Successful": [], "Failed": [{"Id": entry["Id"], **code} for entry in body["Entries"]]})

    (pointer,) = pointers(1)
    message = ok({"Messages": [{"MessageId": "m", "ReceiptHandle": "r", "Body": str(pointer)}]})
    aws.reply = answering(ReceiveMessage=message, DeleteMessageBatch=stale, ChangeMessageVisibilityBatch=stale)
    engine = queue(aws)
    taken = await engine.take(Lane.BULK, most=1, wait=0)
    assert [one.pointer for one in taken] == [pointer]
    await engine.done(taken)
    await engine.give_back(taken)
    assert [operation_of(r) for r in aws.received][-2:] == ["DeleteMessageBatch", "ChangeMessageVisibilityBatch"]


async def test_a_queue_that_was_deleted_is_made_anew(aws: FakeHttp) -> None:
    engine = queue(aws)
    await engine.put(pointers(1))
    aws.reply = answering(SendMessageBatch=MISSING, GetQueueUrl=MISSING)
    with pytest.raises(QueueUnavailableError):
        await engine.put(pointers(1))
    aws.reply = answering(GetQueueUrl=MISSING)
    await engine.put(pointers(1))
    assert [operation_of(r) for r in aws.received].count("CreateQueue") == 3


async def test_calls_carry_ten_messages(aws: FakeHttp) -> None:
    engine = queue(aws)
    await engine.put(pointers(95))
    sizes = [len(json.loads(r.body)["Entries"]) for r in aws.received if operation_of(r) == "SendMessageBatch"]
    assert sorted(sizes) == [5, *[10] * 9]


async def test_an_end_does_not_wait_for_a_call_that_waits_for_messages(
    aws: FakeHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqs, "CLOSE_SECONDS", 0.2)
    aws.reply = answering(ReceiveMessage=Reply(then="hang"))
    engine = queue(aws)
    await engine.start()
    taking = asyncio.create_task(engine.take(Lane.OTP, most=1, wait=60))
    while "ReceiveMessage" not in [operation_of(r) for r in aws.received]:
        await asyncio.sleep(0.01)
    taking.cancel()
    async with asyncio.timeout(3):
        await engine.close()
