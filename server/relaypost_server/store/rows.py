"""Between records, the documents that are written, and the rows that are read."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Protocol

import orjson

from relaypost_server.core.adjustments import Adjustment, AdjustmentKind
from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.delivery import DeliveryEvent, EventType, RejectReason
from relaypost_server.core.failover import Attempt, SkipReason
from relaypost_server.core.idempotency import Claim, KnownRequest, Started
from relaypost_server.core.message import Channel, Guarantee, MessageState
from relaypost_server.core.money import Money
from relaypost_server.core.otp_codes import StoredCode
from relaypost_server.core.outcome import UNCONFIRMED_CODE, Kind, Outcome, RefusedRecipient
from relaypost_server.core.queue import TIME_TO_LIVE, Queued
from relaypost_server.core.record import MessageRecord
from relaypost_server.store import contents

FIRST_ASKED = timedelta(minutes=10)
"""After which a provider has a price for most messages."""
FIRST_FENCE = 1
"""Of a request that has been claimed once."""


class Row(Protocol):
    """A row of a result, by the names of its columns."""

    def __getitem__(self, column: str, /) -> Any: ...


def inserted(record: MessageRecord) -> bytes:
    """The document that puts a message on record which has been sent."""
    return orjson.dumps(_message_document("insert", record))


def claimed(claim: Claim, *, lease: float) -> bytes:
    """The document that claims a request for `lease` seconds."""
    document = _message_document("claim", claim.record)
    key = claim.key
    document |= {
        "caller": key.caller,
        "method": key.method,
        "request_id": key.request_id,
        "fingerprint": claim.fingerprint,
        "fence": FIRST_FENCE,
        "lease": lease,
        "started_provider": claim.first_provider or None,
        "started_time": claim.record.create_time if claim.first_provider else None,
    }
    return orjson.dumps(document)


def starting(record: MessageRecord, started: Started, *, fence: int, lease: float) -> bytes:
    """The document that puts an attempt on record before it is made."""
    document = _message_document("starting", record)
    document |= {"fence": fence, "lease": lease, "kept": False}
    document |= {"started_provider": started.provider, "started_time": started.time}
    return orjson.dumps(document)


def finished(record: MessageRecord, *, fence: int, kept: bool) -> bytes:
    """The document that ends a walk."""
    return orjson.dumps(_message_document("finish", record) | {"fence": fence, "kept": kept})


def unproven(record: MessageRecord, *, kept: bool) -> bytes:
    """The document of a message that was sent although its claim was not answered."""
    return orjson.dumps(_message_document("unproven", record) | {"fence": FIRST_FENCE, "kept": kept})


def settled(record: MessageRecord, *, fence: int, kept: bool) -> bytes:
    """The document that ends an abandoned request."""
    return orjson.dumps(_message_document("settle", record) | {"fence": fence, "kept": kept})


def queue_document(queued: Queued) -> dict[str, Any]:
    """A message that is to be sent later, as `enqueue` takes it."""
    record, schedule = queued.record, queued.schedule
    return {
        "id": record.id,
        "channel": record.channel,
        "guarantee": record.guarantee,
        "sender": record.sender,
        "recipients": record.recipients,
        "create_time": record.create_time,
        "tags": dict(record.tags),
        "metadata": dict(record.metadata),
        "adjustments": _adjustments(record),
        "country": record.country,
        "caller": queued.caller,
        "method": queued.method,
        "request_id": queued.request_id,
        "fingerprint": queued.fingerprint,
        "batch_id": queued.batch_id,
        "lane": schedule.lane,
        "content": contents.write(queued.message.content).decode(),
        "due_time": schedule.due,
        "expire_time": schedule.expires,
        "time_to_live": TIME_TO_LIVE[schedule.lane].total_seconds(),
    }


def batch(documents: Iterable[bytes]) -> str:
    """The argument of `write_batch`.

    One text costs the client a third less than thirty arrays, one for each column.
    """
    return f"[{b','.join(documents).decode()}]"


def _message_document(op: str, record: MessageRecord) -> dict[str, Any]:
    cost = record.cost
    return {
        "op": op,
        "id": record.id,
        "channel": record.channel,
        "state": record.state,
        "guarantee": record.guarantee,
        "sender": record.sender,
        "recipients": record.recipients,
        "caller": record.caller,
        "country": record.country,
        "create_time": record.create_time,
        "update_time": record.update_time,
        "provider": record.provider,
        "provider_message_id": record.provider_message_id,
        "possible_duplicate": record.possible_duplicate,
        "cost_micros": cost and cost.micros,
        "cost_currency": cost and cost.currency,
        "tags": dict(record.tags),
        "metadata": dict(record.metadata),
        "adjustments": _adjustments(record),
        "attempts": [_attempt_document(number, a) for number, a in enumerate(record.attempts, start=1)],
    }


def _adjustments(record: MessageRecord) -> list[tuple[str, str, str]]:
    return [(a.field, a.kind, a.description) for a in record.adjustments]


def _attempt_document(number: int, attempt: Attempt) -> dict[str, Any]:
    outcome = attempt.outcome
    cost = outcome.cost
    return {
        "number": number,
        "provider": attempt.provider,
        "kind": outcome.kind,
        "skipped": attempt.skipped.name if attempt.skipped else "",
        "provider_code": outcome.provider_code,
        "detail": outcome.full_detail,
        "provider_message_id": outcome.provider_message_id,
        "circuit": attempt.circuit,
        "start_time": attempt.start_time,
        "duration": attempt.duration,
        "cost_micros": cost and cost.micros,
        "cost_currency": cost and cost.currency,
        "units": outcome.units,
        "price_due": attempt.start_time + FIRST_ASKED if outcome.price_later else None,
        "segments": outcome.segments,
        "refused": [(r.address, r.shown_code, r.temporary) for r in outcome.refused],
    }


def event_document(event: DeliveryEvent) -> dict[str, Any]:
    """A receipt, as `add_delivery_events` takes it."""
    return {
        "provider": event.provider,
        "event_id": event.event_id,
        "message_id": event.message_id,
        "provider_message_id": event.provider_message_id,
        "type": event.type,
        "state": event.state,
        "rank": event.rank,
        "event_time": event.time,
        "reject_reason": event.reject_reason or "",
        "permanent": event.permanent,
        "provider_code": event.provider_code,
        "detail": event.detail,
        "recipients": event.recipients,
        "suppression": event.suppression,
        "raw": event.raw,
    }


def delivery_event(row: Row) -> DeliveryEvent:
    """The event of a row, without what the provider said word for word."""
    return DeliveryEvent(
        provider=row["provider"],
        event_id=row["event_id"],
        message_id=str(row["message_id"]),
        provider_message_id=row["provider_message_id"],
        type=EventType(row["type"]),
        time=row["event_time"],
        reject_reason=RejectReason(row["reject_reason"]) if row["reject_reason"] else None,
        permanent=row["permanent"],
        provider_code=row["provider_code"],
        detail=row["detail"],
        recipients=tuple(row["recipients"]),
    )


def records(messages: Iterable[Row], attempts: Iterable[Row]) -> list[MessageRecord]:
    """The records of some rows, in the order of the messages; without events."""
    by_message: dict[str, list[Attempt]] = defaultdict(list)
    for row in attempts:
        by_message[str(row["message_id"])].append(_attempt(row))
    return [_record(row, tuple(by_message[str(row["id"])])) for row in messages]


def known_request(row: Row, record: MessageRecord) -> KnownRequest:
    """The request of a row, and the record of its message."""
    started = row["started_provider"]
    return KnownRequest(
        fingerprint=row["fingerprint"],
        fence=row["fence"],
        running=row["running"],
        kept=row["kept"],
        proven=row["proven"],
        started=None if started is None else Started(provider=started, time=row["started_time"]),
        record=record,
        waiting=row["waiting"],
        dead=row["dead"],
    )


def stored_code(row: Row) -> StoredCode:
    """The code's columns of a row."""
    return StoredCode(
        pepper=row["pepper"],
        mark=row["mark"],
        seal=row["seal"],
        length=row["length"],
        generation=row["generation"],
    )


def _record(row: Row, attempts: tuple[Attempt, ...]) -> MessageRecord:
    return MessageRecord(
        id=str(row["id"]),
        channel=Channel(row["channel"]),
        state=MessageState(row["state"]),
        guarantee=Guarantee(row["guarantee"]),
        sender=row["sender"],
        recipients=tuple(row["recipients"]),
        caller=row["caller"],
        country=row["country"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        provider=row["provider"],
        provider_message_id=row["provider_message_id"],
        possible_duplicate=row["possible_duplicate"],
        cost=_to_money(row),
        tags=orjson.loads(row["tags"]),
        metadata=orjson.loads(row["metadata"]),
        attempts=attempts,
        adjustments=tuple(
            Adjustment(field=field, kind=AdjustmentKind(kind), description=description)
            for field, kind, description in orjson.loads(row["adjustments"])
        ),
    )


def _attempt(row: Row) -> Attempt:
    return Attempt(
        provider=row["provider"],
        outcome=Outcome(
            kind=Kind(row["kind"]),
            detail=row["detail"],
            provider_code=row["provider_code"],
            provider_message_id=row["provider_message_id"],
            cost=_to_money(row),
            billed=_to_money(row, "billed"),
            units=row["units"],
            segments=row["segments"],
            refused=tuple(_refused(*written) for written in orjson.loads(row["refused"])),
        ),
        skipped=SkipReason.__members__.get(row["skipped"]),  # A newer gateway may know more reasons.
        circuit=CircuitState(row["circuit"]),
        start_time=row["start_time"],
        duration=row["duration"],
    )


def _refused(address: str, code: str, temporary: bool) -> RefusedRecipient:
    unconfirmed = code == UNCONFIRMED_CODE
    return RefusedRecipient(
        address=address, provider_code="" if unconfirmed else code, temporary=temporary, unconfirmed=unconfirmed
    )


def _to_money(row: Row, name: str = "cost") -> Money | None:
    micros = row[f"{name}_micros"]
    return None if micros is None else Money(micros=micros, currency=row[f"{name}_currency"])
