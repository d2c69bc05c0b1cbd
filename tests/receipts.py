"""Receipts for tests."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from relaypost_server.core.delivery import DeliveryEvent, EventType
from tests.messages import ID

EARLY = datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC)
_numbers = itertools.count()


def event(kind: EventType = EventType.DELIVERED, *, after: float = 0.0, **changes: Any) -> DeliveryEvent:
    """An event `after` so many seconds."""
    fields: dict[str, Any] = {
        "provider": "ses",
        "event_id": f"event-{next(_numbers)}",
        "message_id": ID,
        "provider_message_id": "0100-ses",
        "type": kind,
        "time": EARLY + timedelta(seconds=after),
    }
    return DeliveryEvent(**fields | changes)
