"""Bytes that are nearly requests: valid ones with hostile values, broken in the ways that parsers know."""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from relaypost.v1 import (
    admin_service_pb2 as admin,
    message_pb2,
    messaging_service_pb2 as pb,
    otp_service_pb2 as otp,
    queue_service_pb2 as queue,
    suppression_service_pb2 as suppression,
    template_service_pb2 as template,
    webhook_service_pb2 as webhook,
)

from tests.faults.fields import Leaf, leaves
from tests.faults.hostile_strings import NOT_UTF_8, hostile_strings
from tests.faults.test_hostile_strings import email_request, sms_request

LONGEST_STRING = 20_000
"""Characters; longer strings have a test of their own and would only slow this one down."""
NUMBERS = (0, 1, 2, -1, 7, 500, 501, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 253_402_300_799, -62_135_596_800)
_INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_ENUM: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
}


@dataclass(frozen=True, slots=True)
class Method:
    """A method, valid requests for it, and its share of the calls."""

    path: str
    requests: tuple[Message, ...]
    weight: int
    streams: str = ""
    """"answer", "requests" or "both" where it is not unary."""
    first: bytes = b""
    """A valid request before the broken one, where requests stream."""


_OURS = "/relaypost.v1.MessagingService/"
_OTPS = "/relaypost.v1.OtpService/"
_QUEUE = "/relaypost.v1.QueueService/"
_TEMPLATES = "/relaypost.v1.TemplateService/"
_ADMIN = "/relaypost.v1.AdminService/"
_SUPPRESSIONS = "/relaypost.v1.SuppressionService/"
_WEBHOOKS = "/relaypost.v1.WebhookService/"
_HEALTH = "/grpc.health.v1.Health/"
_ID = "01981f00-0000-7000-8000-000000000001"
METHODS = (
    Method(_OURS + "SendEmail", (email_request(),), 36),
    Method(_OURS + "SendSms", (sms_request(),), 26),
    Method(_OURS + "GetMessage", (pb.GetMessageRequest(message_id=_ID),), 12),
    Method(
        _OURS + "ListMessages",
        (
            pb.ListMessagesRequest(
                page_size=3,
                recipient="ada@example.com",
                provider="console",
                states=[message_pb2.MESSAGE_STATE_SENT, message_pb2.MESSAGE_STATE_FAILED],
            ),
            pb.ListMessagesRequest(page_size=1, page_token="AZgfAAAAcACAAAAAAAAAAQ", channel=message_pb2.CHANNEL_EMAIL),
        ),
        12,
    ),
    Method(_OURS + "GetProviderHealth", (pb.GetProviderHealthRequest(channel=message_pb2.CHANNEL_SMS),), 8),
    Method(_OURS + "GetGatewayHealth", (pb.GetGatewayHealthRequest(),), 8),
    Method(_OURS + "WatchMessage", (pb.WatchMessageRequest(message_id=_ID),), 1, "answer"),
    Method(
        _OTPS + "SendOtp",
        (
            otp.SendOtpRequest(
                email_address="ada@example.com",
                purpose="sign_up",
                locale="pt-BR",
                template="otp",
                variables={"app": "Example"},
                code_length=6,
                ttl=Duration(seconds=300),
                client_address="198.51.100.7",
            ),
            otp.SendOtpRequest(phone=otp.PhoneNumber(number="+14155550123", region_code="US"), purpose="sign_in"),
        ),
        10,
    ),
    Method(_OTPS + "VerifyOtp", (otp.VerifyOtpRequest(otp_id=_ID, code="482915"),), 10),
    Method(_OTPS + "ResendOtp", (otp.ResendOtpRequest(otp_id=_ID, client_address="198.51.100.7"),), 4),
    Method(_OTPS + "CancelOtp", (otp.CancelOtpRequest(otp_id=_ID),), 3),
    Method(_TEMPLATES + "ListTemplates", (template.ListTemplatesRequest(),), 1),
    Method(
        _TEMPLATES + "PreviewTemplate",
        (
            template.PreviewTemplateRequest(
                template="otp",
                channel=message_pb2.CHANNEL_EMAIL,
                locale="pt-BR",
                variables={"app": "Example", "code": "482915"},
            ),
        ),
        4,
    ),
    Method(
        _ADMIN + "ResolveMessage",
        (admin.ResolveMessageRequest(message_id=_ID, resolution=admin.RESOLUTION_NOT_SENT),),
        3,
    ),
    Method(_ADMIN + "VerifySenderEmail", (admin.VerifySenderEmailRequest(email_address="ada@example.com"),), 2),
    Method(_ADMIN + "GetSendingQuota", (admin.GetSendingQuotaRequest(),), 1),
    Method(_ADMIN + "GetSmsSpend", (admin.GetSmsSpendRequest(),), 1),
    Method(
        _ADMIN + "SetMonthlySpendLimit",
        (
            admin.SetMonthlySpendLimitRequest(
                limit=message_pb2.Money(currency_code="USD", micros=50_000_000),
            ),
        ),
        2,
    ),
    Method(
        _ADMIN + "GetCostReport",
        (
            admin.GetCostReportRequest(
                first_day="2026-01-01",
                last_day="2026-12-31",
                group_by=[admin.COST_DIMENSION_DAY, admin.COST_DIMENSION_CALLER],
                channel=message_pb2.CHANNEL_SMS,
            ),
            admin.GetCostReportRequest(),
        ),
        3,
    ),
    Method(
        _SUPPRESSIONS + "AddSuppression",
        (suppression.AddSuppressionRequest(address="Bob@example.com", note="asked by phone", all_callers=True),),
        4,
    ),
    Method(_SUPPRESSIONS + "RemoveSuppression", (suppression.RemoveSuppressionRequest(address="+14155550199"),), 3),
    Method(
        _SUPPRESSIONS + "ListSuppressions",
        (
            suppression.ListSuppressionsRequest(
                page_size=3,
                page_token="WyJib2JAZXhhbXBsZS5jb20iLCAiIl0",
                address="bob@example.com",
                reason=suppression.SUPPRESSION_REASON_BOUNCED,
                source=suppression.SUPPRESSION_SOURCE_EVENT,
                provider="ses",
            ),
        ),
        4,
    ),
    Method(
        _SUPPRESSIONS + "ImportSuppressions",
        (
            suppression.ImportSuppressionsRequest(
                suppressions=[
                    suppression.Suppression(
                        address="bob@example.com",
                        reason=suppression.SUPPRESSION_REASON_COMPLAINED,
                        source=suppression.SUPPRESSION_SOURCE_EVENT,
                        provider="ses",
                        message_id=_ID,
                        create_time=Timestamp(seconds=1_782_907_200),
                        expire_time=Timestamp(seconds=4_102_444_800),
                        note="from the old gateway",
                    )
                ]
            ),
        ),
        4,
    ),
    Method(
        _QUEUE + "EnqueueEmail",
        (
            queue.EnqueueEmailRequest(
                email=email_request().email,
                schedule=queue.Schedule(lane=queue.LANE_BULK, send_at=Timestamp(seconds=1_795_000_000)),
                metadata={"order": "7"},
            ),
            queue.EnqueueEmailRequest(email=email_request().email),
        ),
        10,
    ),
    Method(_QUEUE + "EnqueueSms", (queue.EnqueueSmsRequest(sms=sms_request().sms),), 6),
    Method(_QUEUE + "CancelMessage", (queue.CancelMessageRequest(message_id=_ID),), 2),
    Method(_QUEUE + "RequeueMessage", (queue.RequeueMessageRequest(message_id=_ID),), 2),
    Method(
        _QUEUE + "ListDeadLetters", (queue.ListDeadLettersRequest(page_size=3, page_token="AZgfAAAAcACAAAAAAAAAAQ"),), 3
    ),
    Method(_QUEUE + "GetBatch", (queue.GetBatchRequest(batch_id=_ID),), 2),
    Method(_QUEUE + "WatchBatch", (queue.WatchBatchRequest(batch_id=_ID),), 1, "answer"),
    Method(
        _QUEUE + "SendBulk",
        (
            queue.SendBulkRequest(message=queue.BulkMessage(email=email_request().email, position=1)),
            queue.SendBulkRequest(message=queue.BulkMessage(sms=sms_request().sms, metadata={"order": "7"})),
            queue.SendBulkRequest(header=queue.BulkHeader(request_id="fuzz", validate_only=True)),
        ),
        6,
        "requests",
        queue.SendBulkRequest(header=queue.BulkHeader(request_id="fuzz")).SerializeToString(),
    ),
    Method(
        _WEBHOOKS + "CreateWebhookEndpoint",
        (
            webhook.CreateWebhookEndpointRequest(
                url="https://127.0.0.1:8443/hook?a=1", event_types=["message.sent"], description="support"
            ),
        ),
        4,
    ),
    Method(_WEBHOOKS + "ListWebhookEndpoints", (webhook.ListWebhookEndpointsRequest(),), 1),
    Method(_WEBHOOKS + "DeleteWebhookEndpoint", (webhook.DeleteWebhookEndpointRequest(endpoint_id=_ID),), 2),
    Method(_WEBHOOKS + "EnableWebhookEndpoint", (webhook.EnableWebhookEndpointRequest(endpoint_id=_ID),), 2),
    Method(
        _WEBHOOKS + "RotateWebhookSecret",
        (webhook.RotateWebhookSecretRequest(endpoint_id=_ID, grace=Duration(seconds=60)),),
        2,
    ),
    Method(
        _WEBHOOKS + "ListWebhookDeliveries",
        (
            webhook.ListWebhookDeliveriesRequest(
                page_size=3,
                page_token="WyIyMDI2LTA3LTAxVDEyOjAwOjAwKzAwOjAwIiwgIjAxOTgxZjAwLTAwMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMSJd",
                endpoint_id=_ID,
                state=webhook.WEBHOOK_DELIVERY_STATE_DEAD,
            ),
        ),
        4,
    ),
    Method(_WEBHOOKS + "RedeliverWebhook", (webhook.RedeliverWebhookRequest(delivery_id=_ID),), 2),
    Method(_OURS + "NoSuchMethod", (pb.GetMessageRequest(message_id=_ID),), 1),
    Method(_HEALTH + "Check", (health_pb2.HealthCheckRequest(service="email"),), 3),
    Method(_HEALTH + "Watch", (health_pb2.HealthCheckRequest(service="email"),), 1, "answer"),
    Method(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        (
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="relaypost.v1.Email"),
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(
                file_containing_extension=reflection_pb2.ExtensionRequest(containing_type="relaypost.v1.Email")
            ),
            reflection_pb2.ServerReflectionRequest(all_extension_numbers_of_type="relaypost.v1.Email"),
        ),
        1,
        "both",
    ),
)


def calls(seed: int, count: int) -> Iterator[tuple[Method, bytes]]:
    """`count` calls; the same ones for the same seed."""
    chance = random.Random(seed)
    places = {method.path: [tuple(leaves(r.DESCRIPTOR)) for r in method.requests] for method in METHODS}
    for method in chance.choices(METHODS, [m.weight for m in METHODS], k=count):
        number = chance.randrange(len(method.requests))
        data = _with_hostile_values(chance, method.requests[number], places[method.path][number])
        if chance.random() < 0.6:
            for _ in range(chance.choice((1, 1, 1, 2, 3))):
                data = chance.choice(_MUTATIONS)(chance, data)
        yield method, data


_STRINGS = [s for s in hostile_strings() if len(s) <= LONGEST_STRING]


def _with_hostile_values(chance: random.Random, valid: Message, places: Iterable[Leaf]) -> bytes:
    """The request with hostile values in none, some or many of its fields."""
    request = type(valid).FromString(valid.SerializeToString())
    rate = chance.choice((0.0, 0.03, 0.1, 0.5))
    for leaf in places:
        if chance.random() < rate:
            leaf.put(request, _value(chance, leaf))
    return request.SerializeToString()


def _value(chance: random.Random, leaf: Leaf) -> Any:
    if leaf.is_text:
        return chance.choice(_STRINGS)
    low, high = _INTEGERS.get(leaf.kind, (0, 1))
    return chance.choice([n for n in NUMBERS if low <= n <= high])


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _at(chance: random.Random, data: bytes) -> int:
    return chance.randrange(len(data) + 1)


def _insert(chance: random.Random, data: bytes, piece: bytes) -> bytes:
    place = _at(chance, data)
    return data[:place] + piece + data[place:]


def _flip_bits(chance: random.Random, data: bytes) -> bytes:
    flipped = bytearray(data)
    for _ in range(chance.randint(1, 8) if data else 0):
        flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def _truncate(chance: random.Random, data: bytes) -> bytes:
    return data[: _at(chance, data)]


def _splice(chance: random.Random, data: bytes) -> bytes:
    return data[: _at(chance, data)] + data[_at(chance, data) :]


def _repeat(chance: random.Random, data: bytes) -> bytes:
    return data[:2000] * chance.randint(2, 5)


def _lie_about_a_length(chance: random.Random, data: bytes) -> bytes:
    place = _at(chance, data)
    return data[:place] + varint(chance.choice((0, 1, 127, 128, 2**16, 2**31 - 1, 2**32, 2**63))) + data[place + 1 :]


def _random_varint(chance: random.Random, data: bytes) -> bytes:
    return _insert(chance, data, varint(chance.getrandbits(chance.choice((7, 14, 32, 64)))))


def _overlong_varint(chance: random.Random, data: bytes) -> bytes:
    return _insert(chance, data, b"\x80" * chance.randint(1, 12) + b"\x01")


def _unknown_field(chance: random.Random, data: bytes) -> bytes:
    number = chance.choice((0, 15, 100, 18_999, 19_000, 2**29 - 1, 2**29))
    return data + varint(number << 3 | chance.randrange(8)) + chance.randbytes(chance.randint(0, 20))


def _wrong_wire_type(chance: random.Random, data: bytes) -> bytes:
    if not data:
        return data
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] & 0xF8 | chance.randrange(8)]) + data[place + 1 :]


def _nest(chance: random.Random, data: bytes) -> bytes:
    inner, tag = data[:50], chance.choice((b"\x0a", b"\x1a", b"\x52"))
    for _ in range(chance.choice((2, 50, 99, 101, 1000))):
        inner = tag + varint(len(inner)) + inner
    return data + inner


def _groups(chance: random.Random, data: bytes) -> bytes:
    return data + b"\x0b" * chance.choice((1, 50, 101, 5000))


def _many_entries(chance: random.Random, data: bytes) -> bytes:
    tag, many = chance.choice((b"\x12", b"\x1a", b"\x4a", b"\x52", b"\x5a")), chance.choice((16, 51, 1000, 20_000))
    entries = tag + b"\x00"
    return data + b"\x0a" + varint(many * len(entries)) + entries * many


def _many_numbers(chance: random.Random, data: bytes) -> bytes:
    many = chance.choice((10, 1000, 50_000))
    return data + b"\x1a" + varint(many) + b"\x01" * many


def _many_map_entries(chance: random.Random, data: bytes) -> bytes:
    many = chance.choice((5, 21, 2000))
    entries = (b"\x0a\x04k%03d\x12\x01v" % (number % 1000) for number in range(many))
    return data + b"".join(b"\x1a" + varint(len(entry)) + entry for entry in entries)


def _not_utf_8(chance: random.Random, data: bytes) -> bytes:
    bad = chance.choice(NOT_UTF_8)
    place = _at(chance, data)
    return data[:place] + bad + data[place + len(bad) :]


def _noise(chance: random.Random, data: bytes) -> bytes:
    return chance.randbytes(chance.choice((0, 1, 10, 1000)))


_MUTATIONS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flip_bits,
    _truncate,
    _splice,
    _repeat,
    _lie_about_a_length,
    _random_varint,
    _overlong_varint,
    _unknown_field,
    _wrong_wire_type,
    _nest,
    _groups,
    _many_entries,
    _many_numbers,
    _many_map_entries,
    _not_utf_8,
    _noise,
)
