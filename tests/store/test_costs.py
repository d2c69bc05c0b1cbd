"""What messages cost, added up by a real PostgreSQL."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from relaypost_server.core.breaker import CircuitState
from relaypost_server.core.costs import Spending
from relaypost_server.core.failover import Attempt
from relaypost_server.core.message import Channel, MessageState
from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind, Outcome, RefusedRecipient
from relaypost_server.store.costs import PostgresCosts
from relaypost_server.store.database import Database
from relaypost_server.store.messages import PostgresLog
from tests.fakes.costs import spending
from tests.store.databases import opened
from tests.store.records import record

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
DAY = NOON.date()


def attempt(provider: str, kind: Kind = Kind.ACCEPTED, cost: int | None = 6_450, **outcome: Any) -> Attempt:
    fields: dict[str, Any] = {"kind": kind, "units": 1, "cost": None if cost is None else Money(micros=cost)}
    return Attempt(provider=provider, outcome=Outcome(**fields | outcome), circuit=CircuitState.CLOSED, start_time=NOON)


def sent(*attempts: Attempt, **changes: Any) -> Any:
    fields: dict[str, Any] = {"channel": Channel.SMS, "create_time": NOON, "caller": "", "attempts": attempts}
    return record(**fields | changes)


async def spent(url: str, home: Path, *records: Any, by_caller: bool = False, **query: Any) -> Sequence[Spending]:
    async with opened(url, home) as database:
        for each in records:
            await PostgresLog(database).append(each)
        days = {"first": DAY, "last": DAY} | query
        found = await PostgresCosts(database.reports).spendings(**days, by_caller=by_caller)
        return sorted(found, key=lambda s: (s.day, s.channel, s.provider, s.country, s.caller, s.duplicate))


async def test_equal_sends_are_added_up(bundled_database: str, tmp_path: Path) -> None:
    records = [sent(attempt("sns")), sent(attempt("sns", units=2, cost=12_900)), sent(attempt("sns"), country="CA")]
    assert await spent(bundled_database, tmp_path, *records) == [
        spending(country="CA"),
        spending(sends=2, units=3, estimated=19_350),
    ]


async def test_what_was_not_sent_costs_nothing(bundled_database: str, tmp_path: Path) -> None:
    kinds = [k for k in Kind if k not in (Kind.ACCEPTED, Kind.UNCONFIRMED)]
    records = [sent(attempt("sns", kind), state=MessageState.FAILED) for kind in kinds]
    assert await spent(bundled_database, tmp_path, *records) == []


async def test_a_copy_after_a_doubtful_one_is_a_duplicate(bundled_database: str, tmp_path: Path) -> None:
    doubtful = sent(attempt("sns", Kind.UNCONFIRMED), attempt("twilio", cost=7_500))
    assert await spent(bundled_database, tmp_path, doubtful) == [
        spending(),
        spending(provider="twilio", duplicate=True, estimated=7_500),
    ]


async def test_a_failover_that_sent_one_copy_is_no_duplicate(bundled_database: str, tmp_path: Path) -> None:
    failed_over = sent(attempt("sns", Kind.FAULTED, None, units=0), attempt("twilio", cost=7_500))
    assert await spent(bundled_database, tmp_path, failed_over) == [spending(provider="twilio", estimated=7_500)]


async def test_the_rest_of_the_recipients_are_no_duplicates(bundled_database: str, tmp_path: Path) -> None:
    refused = RefusedRecipient(address="b@example.com", provider_code="450", temporary=True)
    partial = sent(
        attempt("smtp", cost=0, refused=(refused,)), attempt("ses", cost=100), channel=Channel.EMAIL, country=""
    )
    rest, first = await spent(bundled_database, tmp_path, partial)
    assert (first.provider, first.duplicate, rest.provider, rest.duplicate) == ("smtp", False, "ses", False)
    for_good = replace(refused, temporary=False)
    whole = sent(attempt("smtp", cost=0, refused=(for_good,)), attempt("ses", cost=100), channel=Channel.EMAIL)
    found = await spent(bundled_database, tmp_path, whole, channel=Channel.EMAIL)
    assert [(s.provider, s.duplicate) for s in found if s.country] == [("ses", True), ("smtp", False)]


async def test_days_are_those_of_utc_and_callers_are_told_apart(bundled_database: str, tmp_path: Path) -> None:
    midnight = datetime(2026, 7, 2, tzinfo=UTC)
    records = [
        sent(attempt("sns"), create_time=midnight - timedelta(milliseconds=1), caller="a"),
        sent(attempt("sns"), create_time=midnight, caller="b"),
        sent(attempt("sns"), create_time=midnight + timedelta(days=1), caller="c"),
        sent(attempt("sns"), create_time=NOON - timedelta(days=1), caller="d"),
    ]
    days: dict[str, Any] = {"first": DAY, "last": date(2026, 7, 2)}
    found = await spent(bundled_database, tmp_path, *records, by_caller=True, **days)
    assert [(s.day.day, s.caller) for s in found] == [(1, "a"), (2, "b")]
    assert [s.caller for s in await spent(bundled_database, tmp_path, **days)] == ["", ""]


async def test_stretches_without_messages_are_passed_over(
    bundled_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    fetch = Database.fetch

    async def counted(self: Database, query: str, *arguments: object) -> Any:
        asked.append(query)
        return await fetch(self, query, *arguments)

    monkeypatch.setattr(Database, "fetch", counted)
    records = [sent(attempt("sns"), create_time=NOON + timedelta(days=n)) for n in (0, 1, 200)]
    days: dict[str, Any] = {"first": DAY - timedelta(days=100), "last": DAY + timedelta(days=265)}
    found = await spent(bundled_database, tmp_path, *records, **days)
    assert [(s.day - DAY).days for s in found] == [0, 1, 200]
    assert len(asked) <= 10


async def test_an_unknown_price_is_counted_and_not_taken_for_nothing(bundled_database: str, tmp_path: Path) -> None:
    [found] = await spent(bundled_database, tmp_path, sent(attempt("sns", cost=None), country="NZ"))
    assert found == spending(country="NZ", estimated=0, unpriced=1)


async def test_one_channel_alone(bundled_database: str, tmp_path: Path) -> None:
    records = [sent(attempt("sns")), sent(attempt("ses", cost=100), channel=Channel.EMAIL, country="")]
    [found] = await spent(bundled_database, tmp_path, *records, channel=Channel.EMAIL)
    assert found.provider == "ses"


@pytest.mark.parametrize("sent_after_all", [True, False])
async def test_a_doubtful_message_that_was_not_sent_costs_nothing(
    bundled_database: str, tmp_path: Path, sent_after_all: bool
) -> None:
    doubtful = sent(attempt("sns", Kind.UNCONFIRMED), state=MessageState.UNCONFIRMED, cost=Money(micros=6_450))
    async with opened(bundled_database, tmp_path) as database:
        log = PostgresLog(database)
        await log.append(doubtful)
        resolved = await log.resolve(doubtful.id, sent=sent_after_all)
        found = await PostgresCosts(database.reports).spendings(DAY, DAY, by_caller=False)
    assert resolved is not None
    assert resolved.cost == (Money(micros=6_450) if sent_after_all else None)
    assert list(found) == ([spending()] if sent_after_all else [])
