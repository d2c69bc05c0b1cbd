"""Records for tests."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.failover import Attempt, SkipReason
from relaypost_server.core.ids import uuid7
from relaypost_server.core.message import Channel, Guarantee, MessageState
from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind, Outcome, RefusedRecipient
from relaypost_server.core.record import MessageRecord

START = datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC)
_numbers = itertools.count()


def record(**changes: Any) -> MessageRecord:
    """A record with everything in it; each is a second younger than the one before."""
    number = next(_numbers)
    created = changes.get("create_time", START + timedelta(seconds=number))
    attempts = (
        Attempt(
            provider="ses",
            outcome=Outcome(kind=Kind.SKIPPED, detail="circuit open"),
            skipped=SkipReason.CIRCUIT_OPEN,
            circuit=CircuitState.OPEN,
            start_time=created,
        ),
        Attempt(
            provider="smtp",
            outcome=Outcome(
                kind=Kind.ACCEPTED,
                detail="accepted, but for 1 refused recipients",
                provider_code="250 2.0.0",
                provider_message_id="id-1",
                cost=Money(micros=100),
                units=1,
                segments=2,
                refused=(RefusedRecipient(address="b@example.com", provider_code="450", temporary=True),),
            ),
            circuit=CircuitState.HALF_OPEN,
            start_time=created + timedelta(milliseconds=3),
            duration=0.125,
        ),
    )
    fields: dict[str, Any] = {
        "id": uuid7(int(created.timestamp() * 1000), number),
        "channel": Channel.EMAIL,
        "state": MessageState.SENT,
        "guarantee": Guarantee.AT_MOST_ONCE,
        "sender": "noreply@example.com",
        "recipients": ("ada@example.com", "b@example.com"),
        "caller": "signup",
        "country": "US",
        "create_time": created,
        "update_time": created + timedelta(milliseconds=200),
        "provider": "smtp",
        "provider_message_id": "id-1",
        "possible_duplicate": True,
        "cost": Money(micros=100),
        "tags": {"purpose": "signup"},
        "metadata": {"order": 'é "quoted" \\ \n line'},
        "attempts": attempts,
    }
    return MessageRecord(**fields | changes)
