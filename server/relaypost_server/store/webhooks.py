"""Webhooks in PostgreSQL.

Events are made by triggers of the table of messages, in the transaction that
changes a message: see the migration. What is claimed is leased by moving the
time at which it is due.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from relaypost_server.core.webhook import (
    ClaimedDelivery,
    Delivery,
    DeliveryQuery,
    DeliveryState,
    Endpoint,
    Event,
)
from relaypost_server.core.webhook_ports import Backlog
from relaypost_server.core.webhook_retry import Settlement
from relaypost_server.store.database import Database
from relaypost_server.store.rows import Row


class PostgresWebhooks:
    """A `core.webhook_ports.WebhookStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, endpoint: Endpoint, secret: bytes, *, most: int) -> Endpoint | None:
        made = await self._database.fetch(
            "create_webhook_endpoint",
            endpoint.id,
            endpoint.caller,
            endpoint.url,
            list(endpoint.event_types),
            endpoint.description,
            most,
            secret,
        )
        return _endpoint(made[0]) if made else None

    async def endpoints(self, caller: str) -> Sequence[Endpoint]:
        return [_endpoint(row) for row in await self._database.fetch("list_webhook_endpoints", caller)]

    async def delete(self, endpoint_id: str, caller: str) -> bool:
        if not await self._database.fetch("delete_webhook_endpoint", endpoint_id, caller):
            return False
        while await self._database.background.fetch("delete_webhook_deliveries", endpoint_id):
            pass
        return True

    async def enable(self, endpoint_id: str, caller: str) -> Endpoint | None:
        enabled = await self._database.fetch("enable_webhook_endpoint", endpoint_id, caller)
        return _endpoint(enabled[0]) if enabled else None

    async def rotate(self, endpoint_id: str, caller: str, secret: bytes, *, grace: float) -> datetime | None:
        rotated = await self._database.fetch("rotate_webhook_secret", endpoint_id, caller, secret, grace)
        end: datetime | None = rotated[0]["expire_time"] if rotated else None
        return end

    async def deliveries(self, query: DeliveryQuery) -> Sequence[Delivery]:
        time, delivery_id = query.before or (None, None)
        found = await self._database.reports.fetch(
            "list_webhook_deliveries",
            query.caller,
            time,
            delivery_id,
            query.endpoint_id,
            query.state,
            query.page_size,
        )
        return [_delivery(row) for row in found]

    async def redeliver(self, delivery_id: str, caller: str) -> Delivery | None:
        found = await self._database.fetch("redeliver_webhook", delivery_id, caller)
        return _delivery(found[0]) if found else None

    async def claim(self, *, busy: Mapping[str, int], each: int, most: int, lease: float) -> Sequence[ClaimedDelivery]:
        claimed = await self._database.background.fetch(
            "claim_webhook_deliveries", list(busy), list(busy.values()), each, most, lease
        )
        return [_claimed(row) for row in claimed]

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        documents = orjson.dumps([_document(s) for s in settlements]).decode()
        await self._database.background.fetch("settle_webhook_deliveries", documents)

    async def backlog(self) -> Backlog:
        (row,) = await self._database.background.fetch("webhook_backlog")
        return Backlog(pending=row["pending"], dead=row["dead"], oldest=row["oldest"])

    async def sweep(self, *, retention: float) -> None:
        await self._database.background.fetch("forget_webhook_secrets")
        for query in ("forget_webhook_deliveries", "forget_webhook_events"):
            while await self._database.background.fetch(query, retention):
                pass


def _document(settlement: Settlement) -> dict[str, Any]:
    delivery, answer = settlement.delivery, settlement.answer
    return {
        "id": delivery.id,
        "claim": delivery.claim,
        "endpoint_id": delivery.endpoint_id,
        "state": settlement.state,
        "delay": settlement.delay,
        "status": answer.status,
        "detail": answer.detail,
        "pause": settlement.pause,
        "gone": settlement.gone,
    }


def _endpoint(row: Row) -> Endpoint:
    return Endpoint(
        id=str(row["id"]),
        caller=row["caller"],
        url=row["url"],
        event_types=tuple(row["event_types"]),
        description=row["description"],
        create_time=row["create_time"],
        disable_time=row["disable_time"],
        failures=row["failures"],
    )


def _delivery(row: Row) -> Delivery:
    state = DeliveryState(row["state"])
    return Delivery(
        id=str(row["id"]),
        endpoint_id=str(row["endpoint_id"]),
        event_id=str(row["event_id"]),
        event_type=row["event_type"],
        event_time=row["event_time"],
        message_id=row["message_id"],
        state=state,
        attempts=row["attempts"],
        create_time=row["create_time"],
        attempt_time=row["attempt_time"],
        next_time=row["next_time"] if state is DeliveryState.PENDING else None,
        status=row["status"],
        detail=row["detail"],
    )


def _claimed(row: Row) -> ClaimedDelivery:
    return ClaimedDelivery(
        id=str(row["id"]),
        claim=row["claims"],
        attempt=row["attempts"],
        endpoint_id=str(row["endpoint_id"]),
        url=row["url"],
        failures=row["failures"],
        secrets=tuple(row["secrets"]),
        event=Event(id=str(row["event_id"]), type=row["type"], time=row["event_time"], data=orjson.loads(row["data"])),
    )
