"""Between records, the documents that are written, and the rows that are read."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import orjson

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.failover import Attempt, SkipReason
from relaypost_server.core.message import Channel, Guarantee, MessageState
from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind, Outcome, RefusedRecipient
from relaypost_server.core.record import MessageRecord


class Row(Protocol):
    """A row of a result, by the names of its columns."""

    def __getitem__(self, column: str, /) -> Any: ...


def to_json(records: Sequence[MessageRecord]) -> str:
    """The argument of `insert_records`: one array of documents.

    One text costs the client a third less than thirty arrays, one for each column.
    """
    return orjson.dumps([_message_document(r) for r in records]).decode()


def _message_document(record: MessageRecord) -> dict[str, Any]:
    cost = record.cost
    return {
        "id": record.id,
        "channel": record.channel,
        "state": record.state,
        "guarantee": record.guarantee,
        "sender": record.sender,
        "recipients": record.recipients,
        "create_time": record.create_time,
        "update_time": record.update_time,
        "provider": record.provider,
        "provider_message_id": record.provider_message_id,
        "possible_duplicate": record.possible_duplicate,
        "cost_micros": cost and cost.micros,
        "cost_currency": cost and cost.currency,
        "tags": dict(record.tags),
        "metadata": dict(record.metadata),
        "attempts": [_attempt_document(number, a) for number, a in enumerate(record.attempts, start=1)],
    }


def _attempt_document(number: int, attempt: Attempt) -> dict[str, Any]:
    outcome = attempt.outcome
    cost = outcome.cost
    return {
        "number": number,
        "provider": attempt.provider,
        "kind": outcome.kind,
        "skipped": attempt.skipped.name if attempt.skipped else "",
        "provider_code": outcome.provider_code,
        "detail": outcome.detail,
        "provider_message_id": outcome.provider_message_id,
        "circuit": attempt.circuit,
        "start_time": attempt.start_time,
        "duration": attempt.duration,
        "cost_micros": cost and cost.micros,
        "cost_currency": cost and cost.currency,
        "segments": outcome.segments,
        "refused": [(r.address, r.provider_code, r.temporary) for r in outcome.refused],
    }


def records(messages: Iterable[Row], attempts: Iterable[Row]) -> list[MessageRecord]:
    """The records of some rows, in the order of the messages."""
    by_message: dict[str, list[Attempt]] = defaultdict(list)
    for row in attempts:
        by_message[str(row["message_id"])].append(_attempt(row))
    return [_record(row, tuple(by_message[str(row["id"])])) for row in messages]


def _record(row: Row, attempts: tuple[Attempt, ...]) -> MessageRecord:
    return MessageRecord(
        id=str(row["id"]),
        channel=Channel(row["channel"]),
        state=MessageState(row["state"]),
        guarantee=Guarantee(row["guarantee"]),
        sender=row["sender"],
        recipients=tuple(row["recipients"]),
        create_time=row["create_time"],
        update_time=row["update_time"],
        provider=row["provider"],
        provider_message_id=row["provider_message_id"],
        possible_duplicate=row["possible_duplicate"],
        cost=_to_money(row),
        tags=orjson.loads(row["tags"]),
        metadata=orjson.loads(row["metadata"]),
        attempts=attempts,
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
            segments=row["segments"],
            refused=tuple(
                RefusedRecipient(address=address, provider_code=code, temporary=temporary)
                for address, code, temporary in orjson.loads(row["refused"])
            ),
        ),
        skipped=SkipReason[row["skipped"]] if row["skipped"] else None,
        circuit=CircuitState(row["circuit"]),
        start_time=row["start_time"],
        duration=row["duration"],
    )


def _to_money(row: Row) -> Money | None:
    return None if row["cost_micros"] is None else Money(micros=row["cost_micros"], currency=row["cost_currency"])
