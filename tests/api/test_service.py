"""MessagingService over a real socket: answers, failures, limits."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from relaypost.v1 import failure_pb2, message_pb2, messaging_service_pb2 as pb

from relaypost_server.core.message import Channel
from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind, RefusedRecipient
from relaypost_server.web.health_json import health_json
from tests.api.conftest import Serve, Served
from tests.api.status import failure_of
from tests.api.test_validation import email, sms
from tests.fakes.providers import ACCEPTED, FakeProvider, failing


async def test_the_answer_carries_every_attempt(serve: Serve) -> None:
    lost = failing(Kind.UNCONFIRMED, provider_code="x")
    refused = (RefusedRecipient(address="b@x.org", provider_code="550", temporary=False),)
    accepted = failing(Kind.ACCEPTED, provider_message_id="id-1", cost=Money(micros=100), segments=2, refused=refused)
    served = await serve([FakeProvider("a", [lost]), FakeProvider("b", [accepted])])
    request = email(tags={"purpose": "signup"})
    request.metadata["order"] = "7"
    message = (await served.stub.SendEmail(request)).message
    plain = MessageToDict(message)
    for attempt in plain["attempts"]:
        assert attempt.pop("startTime")
        assert attempt.pop("duration")
    assert plain.pop("messageId")
    assert plain.pop("createTime")
    assert plain.pop("updateTime")
    assert plain == {
        "channel": "CHANNEL_EMAIL",
        "state": "MESSAGE_STATE_SENT",
        "deliveryGuarantee": "DELIVERY_GUARANTEE_AT_LEAST_ONCE",
        "sender": "noreply@example.com",
        "recipients": ["ada@example.com"],
        "provider": "b",
        "providerMessageId": "id-1",
        "possibleDuplicate": True,
        "cost": {"currencyCode": "USD", "micros": "100"},
        "tags": {"purpose": "signup"},
        "metadata": {"order": "7"},
        "attempts": [
            {
                "provider": "a",
                "kind": "OUTCOME_KIND_UNCONFIRMED",
                "providerCode": "x",
                "detail": "unconfirmed",
                "circuitState": "CIRCUIT_STATE_CLOSED",
            },
            {
                "provider": "b",
                "kind": "OUTCOME_KIND_ACCEPTED",
                "detail": "accepted",
                "providerMessageId": "id-1",
                "circuitState": "CIRCUIT_STATE_CLOSED",
                "cost": {"currencyCode": "USD", "micros": "100"},
                "segments": 2,
                "refusedRecipients": [{"address": "b@x.org", "providerCode": "550"}],
            },
        ],
    }


async def test_what_may_have_been_sent_is_no_error(serve: Serve) -> None:
    served = await serve([FakeProvider("a", [failing(Kind.UNCONFIRMED)]), FakeProvider("b")])
    request = email()
    request.delivery_guarantee = message_pb2.DELIVERY_GUARANTEE_AT_MOST_ONCE
    message = (await served.stub.SendEmail(request)).message
    assert message.state == message_pb2.MESSAGE_STATE_UNCONFIRMED
    assert message.provider == ""


@pytest.mark.parametrize(
    ("kinds", "code", "reason", "retry"),
    [
        ([Kind.FAULTED, Kind.UNAUTHORIZED], grpc.StatusCode.UNAVAILABLE, "PROVIDERS_EXHAUSTED", 1.0),
        ([Kind.UNSUPPORTED, Kind.UNAUTHORIZED], grpc.StatusCode.FAILED_PRECONDITION, "PROVIDERS_EXHAUSTED", None),
        ([Kind.FAULTED, Kind.REJECTED], grpc.StatusCode.FAILED_PRECONDITION, "MESSAGE_REJECTED", None),
    ],
)
async def test_each_verdict_has_its_status(
    serve: Serve, kinds: list[Kind], code: grpc.StatusCode, reason: str, retry: float | None
) -> None:
    served = await serve([FakeProvider(f"p{i}", [failing(k)]) for i, k in enumerate(kinds)])
    failure = await failure_of(served.stub.SendEmail(email()))
    assert (failure.code, failure.reason, failure.retry_seconds) == (code, reason, retry)
    (detail,) = failure.details(failure_pb2.SendFailure)
    assert [a.provider for a in detail.attempts] == ["p0", "p1"]
    assert detail.message_id == served.emails.log.records[0].id


@pytest.mark.parametrize("seconds", [0.0, 0.05, 1.19])
async def test_a_short_deadline_sends_nothing(serve: Serve, seconds: float) -> None:
    served = await serve()
    failure = await failure_of(served.stub.SendEmail(email(), timeout=seconds))
    assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert served.emails.providers[0].received == []


async def test_three_long_details_arrive_whole(serve: Serve) -> None:
    long = failing(Kind.FAULTED, provider_code="C" * 64, provider_message_id="i" * 255)
    served = await serve([FakeProvider(f"provider-{i}", [long]) for i in range(7)])
    failure = await failure_of(served.stub.SendEmail(email()))
    (detail,) = failure.details(failure_pb2.SendFailure)
    assert len(detail.attempts) == 7


async def test_a_channel_without_providers_says_so(serve: Serve) -> None:
    served = await serve(texts=[])
    failure = await failure_of(served.stub.SendSms(sms()))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CHANNEL_NOT_CONFIGURED")


async def test_a_message_can_be_fetched_again(serve: Serve) -> None:
    served = await serve()
    sent = (await served.stub.SendEmail(email())).message
    fetched = (await served.stub.GetMessage(pb.GetMessageRequest(message_id=sent.message_id))).message
    assert fetched == sent


@pytest.mark.parametrize(
    ("message_id", "code"),
    [
        ("", grpc.StatusCode.INVALID_ARGUMENT),
        ("x' OR 1=1 --", grpc.StatusCode.INVALID_ARGUMENT),
        ("01981f00-0000-7000-8000-000000000001", grpc.StatusCode.NOT_FOUND),
    ],
)
async def test_messages_that_cannot_be_fetched(serve: Serve, message_id: str, code: grpc.StatusCode) -> None:
    served = await serve()
    failure = await failure_of(served.stub.GetMessage(pb.GetMessageRequest(message_id=message_id)))
    assert failure.code is code


async def test_a_message_can_be_fetched_by_the_id_of_each_provider_that_had_it(serve: Serve) -> None:
    doubtful = failing(Kind.UNCONFIRMED, provider_message_id="id-0")
    served = await serve([FakeProvider("a", [doubtful]), FakeProvider("b")])
    sent = (await served.stub.SendEmail(email())).message
    assert sent.provider == "b"
    for provider, known in (("a", "id-0"), ("b", "id-1")):
        request = pb.GetMessageRequest(provider=provider, provider_message_id=known)
        assert (await served.stub.GetMessage(request)).message == sent
    failure = await failure_of(served.stub.GetMessage(pb.GetMessageRequest(provider="a", provider_message_id="id-1")))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "MESSAGE_NOT_FOUND")


MESSAGE_ID = "01981f00-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("named", "fields"),
    [
        ({}, ["message_id"]),
        ({"provider": "ses"}, ["provider_message_id"]),
        ({"provider_message_id": "id-1"}, ["provider"]),
        ({"message_id": MESSAGE_ID, "provider": "ses"}, ["provider"]),
        ({"message_id": MESSAGE_ID, "provider_message_id": "id-1"}, ["provider_message_id"]),
        (
            {"message_id": MESSAGE_ID, "provider": "ses", "provider_message_id": "id-1"},
            ["provider", "provider_message_id"],
        ),
        ({"provider": "x" * 65, "provider_message_id": "id-1"}, ["provider"]),
        ({"provider": "ses", "provider_message_id": "x" * 256}, ["provider_message_id"]),
        ({"provider": "ses", "provider_message_id": "a b"}, ["provider_message_id"]),
        ({"provider": "ses", "provider_message_id": "id-1\x00"}, ["provider_message_id"]),
        ({"provider": "ses", "provider_message_id": "é"}, ["provider_message_id"]),
    ],
)
async def test_a_message_is_named_in_exactly_one_way(serve: Serve, named: dict[str, str], fields: list[str]) -> None:
    served = await serve()
    failure = await failure_of(served.stub.GetMessage(pb.GetMessageRequest(**named)))
    assert (failure.code, list(failure.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, fields)


async def test_pages_of_messages(serve: Serve) -> None:
    served = await serve()
    sent = [(await served.stub.SendEmail(email())).message.message_id for _ in range(5)]
    sent.sort(reverse=True)
    seen: list[str] = []
    token = ""
    while True:
        page = await served.stub.ListMessages(pb.ListMessagesRequest(page_size=2, page_token=token))
        seen += [m.message_id for m in page.messages]
        token = page.next_page_token
        if not token:
            break
    assert seen == sent


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"page_size": -1}, "page_size"),
        ({"page_size": 501}, "page_size"),
        ({"page_token": "!!"}, "page_token"),
        ({"page_token": "YWJj"}, "page_token"),
        ({"states": [99]}, "states"),
        ({"states": [1] * 21}, "states"),
        ({"channel": 9}, "channel"),
        ({"recipient": "nobody"}, "recipient"),
        ({"provider": "x" * 65}, "provider"),
        ({"provider": "a\x00"}, "provider"),
        ({"request_id": "x" * 256}, "request_id"),
        ({"request_id": "a b"}, "request_id"),
        ({"tags": {str(n): "x" for n in range(11)}}, "tags"),
        ({"tags": {"": "x"}}, "tags (key 1 by name)"),
        ({"tags": {"purpose": "x" * 129}}, 'tags["purpose"]'),
        ({"tags": {"purpose": "a\x00"}}, 'tags["purpose"]'),
        ({"metadata": {str(n): "x" for n in range(21)}}, "metadata"),
        ({"metadata": {"order": "x" * 513}}, 'metadata["order"]'),
    ],
)
async def test_lists_that_cannot_be_made(serve: Serve, changes: dict[str, Any], field: str) -> None:
    served = await serve()
    failure = await failure_of(served.stub.ListMessages(pb.ListMessagesRequest(**changes)))
    assert list(failure.fields) == [field]


async def test_times_out_of_range_are_refused(serve: Serve) -> None:
    served = await serve()
    request = pb.ListMessagesRequest()
    request.created_from.seconds = 10**15
    request.created_before.FromDatetime(datetime(2026, 1, 1, tzinfo=UTC))
    assert list((await failure_of(served.stub.ListMessages(request))).fields) == ["created_from"]


async def test_a_log_that_is_away_is_said_so(serve: Serve) -> None:
    served = await serve()
    served.emails.log.available = False
    failure = await failure_of(served.stub.ListMessages(pb.ListMessagesRequest()))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "MESSAGE_LOG_UNAVAILABLE")
    assert failure.retry_seconds
    assert (await served.stub.SendEmail(email())).message.state == message_pb2.MESSAGE_STATE_SENT


async def test_health_is_the_same_over_http(serve: Serve) -> None:
    served = await serve([FakeProvider("a", [failing(Kind.UNAUTHORIZED, provider_code="401")]), FakeProvider("b")])
    await served.stub.SendEmail(email())
    over_grpc = await served.stub.GetProviderHealth(pb.GetProviderHealthRequest())
    read = served.emails.chain.health(), served.texts.chain.health()
    from relaypost_server.core.health import Health

    over_http = health_json(Health(channels=read, message_log=served.emails.log.health()))
    plain = MessageToDict(over_grpc, always_print_fields_with_no_presence=True)
    for channels in (plain["channels"], over_http["channels"]):
        for channel in channels:
            for provider in channel["providers"]:
                for name in ("circuitChangeTime", "retryTime", "lastSuccessTime", "lastFailureTime"):
                    provider[name] = provider.get(name, "")[:21]
    assert over_http == plain


async def test_health_of_one_channel(serve: Serve) -> None:
    served = await serve()
    found = await served.stub.GetProviderHealth(pb.GetProviderHealthRequest(channel=message_pb2.CHANNEL_SMS))
    assert [c.channel for c in found.channels] == [message_pb2.CHANNEL_SMS]


async def test_a_bug_shows_an_id_and_nothing_else(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve()

    async def broken(message_id: str) -> None:
        raise RuntimeError("secret=AKIAIOSFODNN7EXAMPLE")

    monkeypatch.setattr(served.emails.log, "get", broken)
    request = pb.GetMessageRequest(message_id="01981f00-0000-7000-8000-000000000001")
    failure = await failure_of(served.stub.GetMessage(request))
    assert (failure.code, failure.reason, failure.text) == (grpc.StatusCode.INTERNAL, "INTERNAL", "internal error")


async def raw(served: Served, method: str, body: bytes) -> Any:
    call: Any = served.channel.unary_unary(f"/relaypost.v1.MessagingService/{method}")
    return await call(body)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\x0a\xff", id="truncated"),
        pytest.param(b"\x0a\x04\x2a\x02\xff\xfe", id="not UTF-8"),
        pytest.param(b"\xff" * 100, id="garbage"),
    ],
)
async def test_bytes_that_are_no_request_are_the_callers_fault(serve: Serve, body: bytes) -> None:
    served = await serve()
    failure = await failure_of(raw(served, "SendEmail", body))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")


@pytest.mark.parametrize("body", [b"\x0a\xff", b"\x0a\x02\xff\xfe"])
async def test_streams_refuse_bytes_that_are_no_request(serve: Serve, body: bytes) -> None:
    served = await serve()
    watch: Any = served.channel.unary_stream("/grpc.health.v1.Health/Watch")
    reflect: Any = served.channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    for call in (watch(body), reflect(iter([body]))):
        failure = await failure_of(call.read())
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")


async def test_too_large_a_request_is_refused_unread(serve: Serve) -> None:
    served = await serve()
    failure = await failure_of(raw(served, "SendEmail", b"x" * (65 * 1024 * 1024)))
    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_too_much_metadata_is_refused(serve: Serve) -> None:
    served = await serve()
    call = served.stub.SendEmail(email(), metadata=(("x-large", "x" * 20_000),))
    assert (await failure_of(call)).code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_unknown_method_is_unimplemented(serve: Serve) -> None:
    served = await serve()
    assert (await failure_of(raw(served, "NoSuchMethod", b""))).code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_client_that_cancels_leaves_a_record_and_no_second_attempt(serve: Serve) -> None:
    started, release = asyncio.Event(), asyncio.Event()

    async def wait(message: Any, timeout: float) -> Any:
        started.set()
        await release.wait()
        return failing(Kind.FAULTED)

    served = await serve([FakeProvider("a", [wait]), FakeProvider("b")])
    call = served.stub.SendEmail(email())
    sending = asyncio.ensure_future(call)
    await started.wait()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await asyncio.sleep(0.05)
    release.set()
    async with asyncio.timeout(5):
        while not served.emails.log.records:
            await asyncio.sleep(0.01)
    (record,) = served.emails.log.records
    assert [a.kind for a in record.attempts] == [Kind.FAULTED]
    assert served.emails.providers[1].received == []


async def test_many_calls_at_once_are_all_answered(serve: Serve) -> None:
    served = await serve(texts=[FakeProvider("t", [ACCEPTED], channel=Channel.SMS)])
    answers = await asyncio.gather(*(served.stub.SendSms(sms()) for _ in range(200)))
    assert len({a.message.message_id for a in answers}) == 200
