"""What both clients can do about webhooks."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, TypedDict, Unpack

from relaypost._keywords import check_keywords
from relaypost.v1 import webhook_service_pb2 as pb, webhook_service_pb2_grpc


class DeliveryQuery(TypedDict, total=False):
    """Which deliveries to fetch."""

    endpoint_id: str
    """Only those to this endpoint."""
    state: str
    """"pending", "delivered" or "dead"."""
    page_size: int


def rotate_request(endpoint_id: str, grace: float | None) -> pb.RotateWebhookSecretRequest:
    request = pb.RotateWebhookSecretRequest(endpoint_id=endpoint_id)
    if grace is not None:
        request.grace.FromMilliseconds(round(grace * 1000))
    return request


def deliveries_request(query: DeliveryQuery) -> pb.ListWebhookDeliveriesRequest:
    """Raises ValueError for a state that there is not."""
    check_keywords(query, DeliveryQuery)
    state = query.get("state") or "unspecified"
    return pb.ListWebhookDeliveriesRequest(
        page_size=query.get("page_size", 0),
        endpoint_id=query.get("endpoint_id", ""),
        state=pb.WebhookDeliveryState.Value(f"WEBHOOK_DELIVERY_STATE_{state.upper()}"),
    )


class WebhookCalls:
    """For `Client`."""

    webhooks: "webhook_service_pb2_grpc.WebhookServiceStub"
    _call: Callable[..., Any]
    """Calls a method with a request and a timeout."""

    def create_webhook_endpoint(
        self, url: str, *, event_types: Iterable[str] = (), description: str = "", timeout: float | None = None
    ) -> pb.CreateWebhookEndpointResponse:
        """Has events of this caller's messages posted to a URL. The answer's secret is shown this once."""
        request = pb.CreateWebhookEndpointRequest(url=url, event_types=event_types, description=description)
        answer: pb.CreateWebhookEndpointResponse = self._call(self.webhooks.CreateWebhookEndpoint, request, timeout)
        return answer

    def list_webhook_endpoints(self, *, timeout: float | None = None) -> list[pb.WebhookEndpoint]:
        """Every endpoint of this caller, the oldest first."""
        answer = self._call(self.webhooks.ListWebhookEndpoints, pb.ListWebhookEndpointsRequest(), timeout)
        return list(answer.endpoints)

    def delete_webhook_endpoint(self, endpoint_id: str, *, timeout: float | None = None) -> None:
        """Forgets an endpoint, and whatever it has not been told yet."""
        request = pb.DeleteWebhookEndpointRequest(endpoint_id=endpoint_id)
        self._call(self.webhooks.DeleteWebhookEndpoint, request, timeout)

    def enable_webhook_endpoint(self, endpoint_id: str, *, timeout: float | None = None) -> pb.WebhookEndpoint:
        """Lets an endpoint have events again that answered 410 Gone."""
        request = pb.EnableWebhookEndpointRequest(endpoint_id=endpoint_id)
        endpoint: pb.WebhookEndpoint = self._call(self.webhooks.EnableWebhookEndpoint, request, timeout).endpoint
        return endpoint

    def rotate_webhook_secret(
        self, endpoint_id: str, *, grace: float | None = None, timeout: float | None = None
    ) -> pb.RotateWebhookSecretResponse:
        """A new secret; the old ones sign as well for `grace` seconds, by default a day."""
        request = rotate_request(endpoint_id, grace)
        answer: pb.RotateWebhookSecretResponse = self._call(self.webhooks.RotateWebhookSecret, request, timeout)
        return answer

    def list_webhook_deliveries(
        self, *, timeout: float | None = None, **query: Unpack[DeliveryQuery]
    ) -> Iterator[pb.WebhookDelivery]:
        """Deliveries, newest first; pages are fetched as they are needed."""
        pages = self._pages(self.webhooks.ListWebhookDeliveries, deliveries_request(query), timeout)
        return (delivery for page in pages for delivery in page.deliveries)

    def redeliver_webhook(self, delivery_id: str, *, timeout: float | None = None) -> pb.WebhookDelivery:
        """Delivers once more, at once and with all its tries."""
        request = pb.RedeliverWebhookRequest(delivery_id=delivery_id)
        delivery: pb.WebhookDelivery = self._call(self.webhooks.RedeliverWebhook, request, timeout).delivery
        return delivery

    def _pages(self, method: Callable[..., Any], request: Any, timeout: float | None) -> Iterator[Any]:
        """The answers of a list method, page by page; `request` is changed."""
        while True:
            page = self._call(method, request, timeout)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


class AsyncWebhookCalls:
    """For `AsyncClient`."""

    webhooks: "webhook_service_pb2_grpc.WebhookServiceAsyncStub"
    _call: Callable[..., Any]

    async def create_webhook_endpoint(
        self, url: str, *, event_types: Iterable[str] = (), description: str = "", timeout: float | None = None
    ) -> pb.CreateWebhookEndpointResponse:
        """Has events of this caller's messages posted to a URL. The answer's secret is shown this once."""
        request = pb.CreateWebhookEndpointRequest(url=url, event_types=event_types, description=description)
        answer: pb.CreateWebhookEndpointResponse = await self._call(
            self.webhooks.CreateWebhookEndpoint, request, timeout
        )
        return answer

    async def list_webhook_endpoints(self, *, timeout: float | None = None) -> list[pb.WebhookEndpoint]:
        """Every endpoint of this caller, the oldest first."""
        answer = await self._call(self.webhooks.ListWebhookEndpoints, pb.ListWebhookEndpointsRequest(), timeout)
        return list(answer.endpoints)

    async def delete_webhook_endpoint(self, endpoint_id: str, *, timeout: float | None = None) -> None:
        """Forgets an endpoint, and whatever it has not been told yet."""
        request = pb.DeleteWebhookEndpointRequest(endpoint_id=endpoint_id)
        await self._call(self.webhooks.DeleteWebhookEndpoint, request, timeout)

    async def enable_webhook_endpoint(self, endpoint_id: str, *, timeout: float | None = None) -> pb.WebhookEndpoint:
        """Lets an endpoint have events again that answered 410 Gone."""
        request = pb.EnableWebhookEndpointRequest(endpoint_id=endpoint_id)
        endpoint: pb.WebhookEndpoint = (
            await self._call(self.webhooks.EnableWebhookEndpoint, request, timeout)
        ).endpoint
        return endpoint

    async def rotate_webhook_secret(
        self, endpoint_id: str, *, grace: float | None = None, timeout: float | None = None
    ) -> pb.RotateWebhookSecretResponse:
        """A new secret; the old ones sign as well for `grace` seconds, by default a day."""
        request = rotate_request(endpoint_id, grace)
        answer: pb.RotateWebhookSecretResponse = await self._call(self.webhooks.RotateWebhookSecret, request, timeout)
        return answer

    def list_webhook_deliveries(
        self, *, timeout: float | None = None, **query: Unpack[DeliveryQuery]
    ) -> AsyncIterator[pb.WebhookDelivery]:
        """Deliveries, newest first; pages are fetched as they are needed."""
        pages = self._pages(self.webhooks.ListWebhookDeliveries, deliveries_request(query), timeout)
        return (delivery async for page in pages for delivery in page.deliveries)

    async def redeliver_webhook(self, delivery_id: str, *, timeout: float | None = None) -> pb.WebhookDelivery:
        """Delivers once more, at once and with all its tries."""
        request = pb.RedeliverWebhookRequest(delivery_id=delivery_id)
        delivery: pb.WebhookDelivery = (await self._call(self.webhooks.RedeliverWebhook, request, timeout)).delivery
        return delivery

    async def _pages(self, method: Callable[..., Any], request: Any, timeout: float | None) -> AsyncIterator[Any]:
        """The answers of a list method, page by page; `request` is changed."""
        while True:
            page = await self._call(method, request, timeout)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
