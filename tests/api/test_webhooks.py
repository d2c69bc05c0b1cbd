"""WebhookService over a real socket, on a real PostgreSQL."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from relaypost.v1 import webhook_service_pb2 as pb, webhook_service_pb2_grpc

from relaypost_server.api.webhooks import WebhookServicer
from relaypost_server.core.message import MessageState
from relaypost_server.core.webhook import EVENT_TYPES, MOST_ENDPOINTS
from relaypost_server.core.webhook_retry import Answer, settle
from relaypost_server.core.webhook_targets import TargetPolicy
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.webhook_endpoints import WebhookEndpoints
from relaypost_server.store.messages import PostgresLog
from relaypost_server.store.webhooks import PostgresWebhooks
from tests.api.conftest import Serve
from tests.api.status import failure_of
from tests.store.databases import opened
from tests.store.records import record

UNKNOWN = "01981f00-0000-7000-8000-000000000001"
SIGNUP, BILLING = (("relaypost-caller", "signup"),), (("relaypost-caller", "billing"),)
URL = "https://example.com/hook"


@dataclass
class Api:
    """The service, and the database behind it."""

    stub: "webhook_service_pb2_grpc.WebhookServiceAsyncStub"
    store: PostgresWebhooks
    log: PostgresLog

    async def create(self, url: str = URL, **fields: object) -> pb.CreateWebhookEndpointResponse:
        request = pb.CreateWebhookEndpointRequest(url=url, **fields)  # type: ignore[arg-type]
        return await self.stub.CreateWebhookEndpoint(request, metadata=SIGNUP)

    async def endpoints(self) -> list[pb.WebhookEndpoint]:
        answer = await self.stub.ListWebhookEndpoints(pb.ListWebhookEndpointsRequest(), metadata=SIGNUP)
        return list(answer.endpoints)

    async def deliveries(self, **fields: object) -> pb.ListWebhookDeliveriesResponse:
        request = pb.ListWebhookDeliveriesRequest(**fields)  # type: ignore[arg-type]
        return await self.stub.ListWebhookDeliveries(request, metadata=SIGNUP)


@pytest.fixture
async def api(serve: Serve, bundled_database: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with opened(bundled_database, tmp_path) as database:
        store = PostgresWebhooks(database)
        endpoints = WebhookEndpoints(store, grace=86_400.0, clock=Clock())
        served = await serve(webhooks=WebhookServicer(endpoints, TargetPolicy()))
        stub = webhook_service_pb2_grpc.WebhookServiceStub(served.channel)
        yield Api(stub, store, PostgresLog(database))


async def test_an_endpoint_is_registered_and_its_secret_shown_once(api: Api) -> None:
    made = await api.create(event_types=["message.bounced", "message.bounced"], description="for support")
    assert made.secret.startswith("whsec_")
    assert len(base64.b64decode(made.secret.removeprefix("whsec_"), validate=True)) == 32
    [listed] = await api.endpoints()
    assert listed == made.endpoint
    assert (listed.url, list(listed.event_types), listed.description) == (URL, ["message.bounced"], "for support")
    assert not listed.HasField("disable_time")
    assert "secret" not in pb.WebhookEndpoint.DESCRIPTOR.fields_by_name
    assert (await api.create()).secret != made.secret


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"url": ""}, "url"),
        ({"url": "http://example.com"}, "url"),
        ({"url": "https://169.254.169.254/latest"}, "url"),
        ({"url": "https://[::ffff:127.0.0.1]/"}, "url"),
        ({"url": "https://ada:secret@example.com"}, "url"),
        ({"event_types": ["message.sending"]}, "event_types"),
        ({"event_types": ["message.sent"] * 21}, "event_types"),
        ({"description": "two\nlines"}, "description"),
        ({"description": "x" * 201}, "description"),
    ],
)
async def test_a_bad_field_is_named(api: Api, fields: dict[str, Any], named: str) -> None:
    failure = await failure_of(api.create(**fields))
    assert (failure.code, set(failure.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, {named})
    assert "secret" not in failure.text


async def test_every_event_type_that_is_documented_may_be_asked_for(api: Api) -> None:
    made = await api.create(event_types=EVENT_TYPES)
    assert tuple(made.endpoint.event_types) == EVENT_TYPES
    proto = (Path(__file__).parents[2] / "proto/relaypost/v1/webhook_service.proto").read_text()
    assert [t for t in EVENT_TYPES if f'"{t}"' not in proto] == []


async def test_a_caller_has_only_so_many_endpoints(api: Api) -> None:
    for _ in range(MOST_ENDPOINTS):
        await api.create()
    failure = await failure_of(api.create())
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "WEBHOOK_LIMIT_REACHED")


async def test_a_secret_is_rotated(api: Api) -> None:
    made = await api.create()
    request = pb.RotateWebhookSecretRequest(endpoint_id=made.endpoint.endpoint_id, grace=Duration(seconds=60))
    rotated = await api.stub.RotateWebhookSecret(request, metadata=SIGNUP)
    assert rotated.secret != made.secret
    left = rotated.old_secrets_expire_time.ToDatetime() - made.endpoint.create_time.ToDatetime()
    assert 60 <= left.total_seconds() < 90
    request.ClearField("grace")
    rotated = await api.stub.RotateWebhookSecret(request, metadata=SIGNUP)
    left = rotated.old_secrets_expire_time.ToDatetime() - made.endpoint.create_time.ToDatetime()
    assert 86_400 <= left.total_seconds() < 86_430
    for wrong in (Duration(seconds=-1), Duration(seconds=7 * 86_400 + 1), Duration(nanos=-1)):
        request.grace.CopyFrom(wrong)
        failure = await failure_of(api.stub.RotateWebhookSecret(request, metadata=SIGNUP))
        assert set(failure.fields) == {"grace"}


async def test_what_is_anothers_or_nobodys_is_not_found(api: Api) -> None:
    made = await api.create()
    await api.log.append(record(caller="signup", state=MessageState.SENT))
    [delivery] = (await api.deliveries()).deliveries
    for endpoint_id, delivery_id, who in (
        (made.endpoint.endpoint_id, delivery.delivery_id, BILLING),
        (made.endpoint.endpoint_id, delivery.delivery_id, ()),
        (UNKNOWN, UNKNOWN, SIGNUP),
    ):
        for call in (
            api.stub.DeleteWebhookEndpoint(pb.DeleteWebhookEndpointRequest(endpoint_id=endpoint_id), metadata=who),
            api.stub.EnableWebhookEndpoint(pb.EnableWebhookEndpointRequest(endpoint_id=endpoint_id), metadata=who),
            api.stub.RotateWebhookSecret(pb.RotateWebhookSecretRequest(endpoint_id=endpoint_id), metadata=who),
            api.stub.RedeliverWebhook(pb.RedeliverWebhookRequest(delivery_id=delivery_id), metadata=who),
        ):
            failure = await failure_of(call)
            assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "WEBHOOK_NOT_FOUND")
    mine = pb.DeleteWebhookEndpointRequest(endpoint_id=made.endpoint.endpoint_id)
    await api.stub.DeleteWebhookEndpoint(mine, metadata=SIGNUP)
    assert await api.endpoints() == []


async def test_deliveries_are_listed_by_page_and_had_again(api: Api) -> None:
    made = await api.create()
    sent = [record(caller="signup", state=MessageState.SENT) for _ in range(5)]
    for message in sent:
        await api.log.append(message)
    [first, *_] = await api.store.claim(busy={}, each=1, most=1, lease=60.0)
    await api.store.settle([settle(first, Answer(status=500, detail="HTTP 500"), (), 0.5)])
    seen: list[pb.WebhookDelivery] = []
    page = await api.deliveries(page_size=2)
    while page.next_page_token:
        seen += page.deliveries
        page = await api.deliveries(page_size=2, page_token=page.next_page_token)
    seen += page.deliveries
    assert [d.message_id for d in seen] == [m.id for m in reversed(sent)]
    [dead] = (await api.deliveries(state=pb.WEBHOOK_DELIVERY_STATE_DEAD)).deliveries
    assert (dead.delivery_id, dead.event_id, dead.event_type) == (first.id, first.event.id, "message.sent")
    assert (dead.attempts, dead.http_status, dead.detail, dead.HasField("next_attempt_time")) == (
        1,
        500,
        "HTTP 500",
        False,
    )
    request = pb.RedeliverWebhookRequest(delivery_id=dead.delivery_id)
    again = (await api.stub.RedeliverWebhook(request, metadata=SIGNUP)).delivery
    assert (again.state, again.attempts, again.event_id) == (pb.WEBHOOK_DELIVERY_STATE_PENDING, 0, dead.event_id)
    assert len((await api.deliveries(endpoint_id=made.endpoint.endpoint_id)).deliveries) == 5
    assert len((await api.deliveries(endpoint_id=UNKNOWN)).deliveries) == 0


@pytest.mark.parametrize(
    "place", ["x", "[]", "{}", '["2026-07-01", 7]', "[1, 2]", "null", '["0001-01-01T00:00:00+23:00", "x"]']
)
async def test_a_page_token_that_is_not_ours_is_refused(api: Api, place: str) -> None:
    token = base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")
    failure = await failure_of(api.deliveries(page_token=token, page_size=501, state=99, endpoint_id="x"))
    assert set(failure.fields) == {"page_token", "page_size", "state", "endpoint_id"}


async def test_without_the_database_it_says_so(serve: Serve) -> None:
    served = await serve()
    stub = webhook_service_pb2_grpc.WebhookServiceStub(served.channel)
    failure = await failure_of(stub.ListWebhookEndpoints(pb.ListWebhookEndpointsRequest()))
    assert failure.reason == "MESSAGE_LOG_UNAVAILABLE"
