"""Prices that come late, on a real PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind
from relaypost_server.core.price_ports import Unpriced
from relaypost_server.store.costs import PostgresCosts
from relaypost_server.store.database import Database
from relaypost_server.store.messages import PostgresLog
from relaypost_server.store.prices import PostgresPrices
from tests.store.databases import opened
from tests.store.test_costs import attempt, sent

LATELY = datetime.now(UTC) - timedelta(minutes=11)


@pytest.fixture
async def databases(bundled_database: str, tmp_path: Path) -> AsyncIterator[list[Database]]:
    """Two gateways' views of one."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(opened(bundled_database, tmp_path / str(n))) for n in (1, 2)]


async def put(database: Database, *records: Any) -> None:
    for record in records:
        await PostgresLog(database).append(record)


async def make_due(database: Database) -> None:
    """Turns the clock on to when the next question is due."""
    async with database.transaction() as connection:
        await connection.execute("UPDATE relaypost.attempts SET price_due = now() WHERE price_due IS NOT NULL")


def late(*, cost: int = 7_500, sid: str = "SM1", ago: timedelta = timedelta(minutes=11), **changes: Any) -> Any:
    """A message of Twilio, which tells its price later."""
    made = datetime.now(UTC) - ago
    accepted = attempt("twilio", cost=cost, price_later=True, provider_message_id=sid)
    return sent(
        type(accepted)(
            provider="twilio", outcome=accepted.outcome, circuit=accepted.circuit, start_time=made, duration=0.1
        ),
        create_time=made,
        cost=Money(micros=cost),
        **changes,
    )


async def test_a_price_is_asked_for_after_ten_minutes_and_by_one_gateway(databases: list[Database]) -> None:
    await put(databases[0], late(sid="SM1"), late(sid="SM2", ago=timedelta(minutes=9)), sent(attempt("twilio")))
    first, second = (PostgresPrices(d) for d in databases)
    assert [u.provider_message_id for u in await first.due("twilio", 10)] == ["SM1"]
    assert list(await second.due("twilio", 10)) == []
    assert list(await first.due("sns", 10)) == []


async def test_a_price_replaces_the_estimate_and_both_stay_on_record(databases: list[Database]) -> None:
    record = late()
    await put(databases[0], record)
    prices, log = PostgresPrices(databases[0]), PostgresLog(databases[0])
    [unpriced] = await prices.due("twilio", 10)
    await prices.keep([(unpriced, Money(micros=8_300))])
    found = await log.get(record.id)
    assert found is not None
    outcome = found.attempts[0].outcome
    assert (outcome.cost, outcome.billed, found.cost) == (Money(micros=7_500), Money(micros=8_300), Money(micros=8_300))
    day = record.create_time.date()
    [spending] = await PostgresCosts(databases[0].reports).spendings(day, day, by_caller=False)
    assert (spending.estimated, spending.billed, spending.billed_sends, spending.unbilled) == (7_500, 8_300, 1, 0)
    await make_due(databases[0])
    assert list(await prices.due("twilio", 10)) == []


async def test_the_whole_cost_of_a_message_has_the_estimates_of_its_other_attempts(databases: list[Database]) -> None:
    accepted = late().attempts[0]
    record = sent(attempt("sns", Kind.UNCONFIRMED), accepted, create_time=accepted.start_time)
    await put(databases[0], record)
    prices = PostgresPrices(databases[0])
    [unpriced] = await prices.due("twilio", 10)
    assert unpriced.number == 2
    await prices.keep([(unpriced, Money(micros=8_300))])
    found = await PostgresLog(databases[0]).get(record.id)
    assert found is not None
    assert found.cost == Money(micros=6_450 + 8_300)


async def test_a_bill_in_another_currency_is_not_added_to_estimates(databases: list[Database]) -> None:
    accepted = late().attempts[0]
    record = sent(
        attempt("sns", Kind.UNCONFIRMED), accepted, create_time=accepted.start_time, cost=Money(micros=13_950)
    )
    await put(databases[0], record)
    prices = PostgresPrices(databases[0])
    [unpriced] = await prices.due("twilio", 10)
    await prices.keep([(unpriced, Money(micros=7_000, currency="EUR"))])
    found = await PostgresLog(databases[0]).get(record.id)
    assert found is not None
    assert found.cost == Money(micros=13_950)
    day = record.create_time.date()
    spendings = await PostgresCosts(databases[0].reports).spendings(day, day, by_caller=False)
    assert {(s.currency, s.billed, s.unbilled) for s in spendings} == {("USD", 0, 6_450), ("EUR", 7_000, 0)}


async def test_a_price_is_asked_for_six_times_and_then_no_more(databases: list[Database]) -> None:
    await put(databases[0], late())
    prices = PostgresPrices(databases[0])
    for _ in range(6):
        assert len(await prices.due("twilio", 10)) == 1
        assert list(await prices.due("twilio", 10)) == []
        await make_due(databases[0])
    assert list(await prices.due("twilio", 10)) == []


async def test_a_question_that_could_not_be_asked_does_not_count(databases: list[Database]) -> None:
    await put(databases[0], late())
    prices = PostgresPrices(databases[0])
    for _ in range(10):
        due = await prices.due("twilio", 10)
        assert len(due) == 1
        await prices.put_off(due)
        assert list(await prices.due("twilio", 10)) == []
        await make_due(databases[0])


async def test_the_longest_due_are_asked_for_first_and_the_oldest_are_given_up(databases: list[Database]) -> None:
    ages = {"SM1": timedelta(days=8), "SM2": timedelta(hours=1), "SM3": timedelta(hours=2)}
    await put(databases[0], *(late(sid=sid, ago=ago) for sid, ago in ages.items()))
    due = await PostgresPrices(databases[0]).due("twilio", 1)
    assert [u.provider_message_id for u in due] == ["SM3"]


async def test_nothing_to_keep_is_no_mistake(databases: list[Database]) -> None:
    prices = PostgresPrices(databases[0])
    await prices.keep([])
    gone = Unpriced(message_id=late().id, number=1, provider_message_id="SM1", start_time=LATELY)
    await prices.keep([(gone, Money(micros=1))])
    await prices.put_off([gone])
