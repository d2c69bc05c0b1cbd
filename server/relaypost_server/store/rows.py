"""Between records and rows."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.failover import Attempt, SkipReason
from relaypost_server.core.message import Channel, Guarantee, MessageState
from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind, Outcome, RefusedRecipient
from relaypost_server.core.record import MessageRecord


class Row(Protocol):
    """A row of a result, by the names of its columns."""

    def __getitem__(self, column: str, /) -> Any: ...


MESSAGE_COLUMNS = 15
ATTEMPT_COLUMNS = 15


def columns(records: Sequence[MessageRecord]) -> list[Sequence[Any]]:
    """The arguments of `insert_records`: one array for each column of messages, then of attempts."""
    messages = [_message_row(r) for r in records]
    attempts = [_attempt_row(r.id, number, a) for r in records for number, a in enumerate(r.attempts, start=1)]
    return [*_transposed(messages, MESSAGE_COLUMNS), *_transposed(attempts, ATTEMPT_COLUMNS)]


def _transposed(rows: Sequence[tuple[Any, ...]], width: int) -> list[Sequence[Any]]:
    return list(zip(*rows, strict=True)) if rows else [()] * width


def _message_row(record: MessageRecord) -> tuple[Any, ...]:
    return (
        record.id,
        record.channel.value,
        record.state.value,
        record.guarantee.value,
        record.sender,
        "\n".join(record.recipients),
        record.create_time,
        record.update_time,
        record.provider,
        record.provider_message_id,
        record.possible_duplicate,
        *_money(record.cost),
        _json(record.tags),
        _json(record.metadata),
    )


def _attempt_row(message_id: UUID, number: int, attempt: Attempt) -> tuple[Any, ...]:
    outcome = attempt.outcome
    return (
        message_id,
        number,
        attempt.provider,
        outcome.kind.value,
        attempt.skipped.name if attempt.skipped else "",
        outcome.provider_code,
        outcome.detail,
        outcome.provider_message_id,
        attempt.circuit.value,
        attempt.start_time,
        attempt.duration,
        *_money(outcome.cost),
        outcome.segments,
        json.dumps([(r.address, r.provider_code, r.temporary) for r in outcome.refused]) if outcome.refused else "[]",
    )


def _money(money: Money | None) -> tuple[int | None, str | None]:
    return (None, None) if money is None else (money.micros, money.currency)


def _json(mapping: Mapping[str, str]) -> str:
    return json.dumps(dict(mapping)) if mapping else "{}"


def records(messages: Iterable[Row], attempts: Iterable[Row]) -> list[MessageRecord]:
    """The records of some rows, in the order of the messages."""
    by_message: dict[UUID, list[Attempt]] = defaultdict(list)
    for row in attempts:
        by_message[row["message_id"]].append(_attempt(row))
    return [_record(row, tuple(by_message[row["id"]])) for row in messages]


def _record(row: Row, attempts: tuple[Attempt, ...]) -> MessageRecord:
    return MessageRecord(
        id=row["id"],
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
        tags=json.loads(row["tags"]),
        metadata=json.loads(row["metadata"]),
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
                for address, code, temporary in json.loads(row["refused"])
            ),
        ),
        skipped=SkipReason[row["skipped"]] if row["skipped"] else None,
        circuit=CircuitState(row["circuit"]),
        start_time=row["start_time"],
        duration=row["duration"],
    )


def _to_money(row: Row) -> Money | None:
    return None if row["cost_micros"] is None else Money(micros=row["cost_micros"], currency=row["cost_currency"])
