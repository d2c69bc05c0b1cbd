"""WebhookService."""

from relaypost.v1 import webhook_service_pb2 as pb, webhook_service_pb2_grpc

from relaypost_server.api import errors, pack
from relaypost_server.api.edge import Context
from relaypost_server.api.errors import ApiError
from relaypost_server.api.request_keys import read_caller
from relaypost_server.api.violations import Violations
from relaypost_server.api.webhook_requests import (
    LONGEST_DESCRIPTION,
    STATES,
    page_token,
    read_event_types,
    read_grace,
    read_id,
    read_query,
    read_target,
)
from relaypost_server.core.webhook import Delivery, Endpoint
from relaypost_server.core.webhook_targets import TargetPolicy
from relaypost_server.flow.webhook_endpoints import WebhookEndpoints


class WebhookServicer(webhook_service_pb2_grpc.WebhookServiceServicer):
    """Unpacks, calls the flow, packs. Every method sees the endpoints of its caller alone."""

    def __init__(self, endpoints: WebhookEndpoints, targets: TargetPolicy) -> None:
        self._endpoints = endpoints
        self._targets = targets

    async def CreateWebhookEndpoint(
        self, request: pb.CreateWebhookEndpointRequest, context: Context
    ) -> pb.CreateWebhookEndpointResponse:
        bad = Violations()
        caller = read_caller(context, bad)
        url = read_target(request.url, self._targets, bad)
        event_types = read_event_types(request, bad)
        bad.line("description", request.description, longest=LONGEST_DESCRIPTION)
        bad.check()
        made = await self._endpoints.create(caller, url, event_types, request.description)
        if made is None:
            raise ApiError(errors.webhook_limit_reached())
        endpoint, secret = made
        return pb.CreateWebhookEndpointResponse(endpoint=_endpoint(endpoint), secret=secret)

    async def ListWebhookEndpoints(
        self, request: pb.ListWebhookEndpointsRequest, context: Context
    ) -> pb.ListWebhookEndpointsResponse:
        bad = Violations()
        caller = read_caller(context, bad)
        bad.check()
        found = await self._endpoints.store.endpoints(caller)
        return pb.ListWebhookEndpointsResponse(endpoints=[_endpoint(e) for e in found])

    async def DeleteWebhookEndpoint(
        self, request: pb.DeleteWebhookEndpointRequest, context: Context
    ) -> pb.DeleteWebhookEndpointResponse:
        endpoint_id, caller = _named("endpoint_id", request.endpoint_id, context)
        if not await self._endpoints.store.delete(endpoint_id, caller):
            raise ApiError(errors.webhook_not_found())
        return pb.DeleteWebhookEndpointResponse()

    async def EnableWebhookEndpoint(
        self, request: pb.EnableWebhookEndpointRequest, context: Context
    ) -> pb.EnableWebhookEndpointResponse:
        endpoint_id, caller = _named("endpoint_id", request.endpoint_id, context)
        enabled = await self._endpoints.store.enable(endpoint_id, caller)
        if enabled is None:
            raise ApiError(errors.webhook_not_found())
        return pb.EnableWebhookEndpointResponse(endpoint=_endpoint(enabled))

    async def RotateWebhookSecret(
        self, request: pb.RotateWebhookSecretRequest, context: Context
    ) -> pb.RotateWebhookSecretResponse:
        bad = Violations()
        caller = read_caller(context, bad)
        endpoint_id = read_id("endpoint_id", request.endpoint_id, bad)
        grace = read_grace(request.grace if request.HasField("grace") else None, bad)
        bad.check()
        rotated = await self._endpoints.rotate(endpoint_id, caller, grace)
        if rotated is None:
            raise ApiError(errors.webhook_not_found())
        secret, end = rotated
        return pb.RotateWebhookSecretResponse(secret=secret, old_secrets_expire_time=pack.time(end))

    async def ListWebhookDeliveries(
        self, request: pb.ListWebhookDeliveriesRequest, context: Context
    ) -> pb.ListWebhookDeliveriesResponse:
        bad = Violations()
        query = read_query(request, read_caller(context, bad), bad)
        bad.check()
        found = await self._endpoints.store.deliveries(query)
        token = page_token(found[-1]) if len(found) == query.page_size else ""
        return pb.ListWebhookDeliveriesResponse(deliveries=[_delivery(d) for d in found], next_page_token=token)

    async def RedeliverWebhook(
        self, request: pb.RedeliverWebhookRequest, context: Context
    ) -> pb.RedeliverWebhookResponse:
        delivery_id, caller = _named("delivery_id", request.delivery_id, context)
        delivery = await self._endpoints.store.redeliver(delivery_id, caller)
        if delivery is None:
            raise ApiError(errors.webhook_not_found())
        return pb.RedeliverWebhookResponse(delivery=_delivery(delivery))


def _named(field: str, value: str, context: Context) -> tuple[str, str]:
    """The id that is asked about, and who asks. Raises InvalidRequestError."""
    bad = Violations()
    found = read_id(field, value, bad), read_caller(context, bad)
    bad.check()
    return found


def _endpoint(endpoint: Endpoint) -> pb.WebhookEndpoint:
    return pb.WebhookEndpoint(
        endpoint_id=endpoint.id,
        url=endpoint.url,
        event_types=endpoint.event_types,
        description=endpoint.description,
        create_time=pack.time(endpoint.create_time),
        disable_time=pack.time(endpoint.disable_time),
        failures=endpoint.failures,
    )


def _delivery(delivery: Delivery) -> pb.WebhookDelivery:
    return pb.WebhookDelivery(
        delivery_id=delivery.id,
        endpoint_id=delivery.endpoint_id,
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        message_id=delivery.message_id,
        state=STATES[delivery.state],
        attempts=delivery.attempts,
        event_time=pack.time(delivery.event_time),
        attempt_time=pack.time(delivery.attempt_time),
        next_attempt_time=pack.time(delivery.next_time),
        http_status=delivery.status,
        detail=delivery.detail,
    )
