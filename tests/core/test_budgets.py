"""Budgets, and the ledger that says how much of them is spent."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from relaypost_server.core.budgets import Budget, Budgets, Charge, Ledger, Standing
from relaypost_server.core.costs import Spending, carried, cost_of
from relaypost_server.core.message import Channel
from relaypost_server.core.money import Money
from relaypost_server.core.tariffs import FreeTier, Period, Tariff, free_units
from tests.core.test_costs import END, JULY, prices
from tests.fakes.costs import spending

PRICE = 6_450
AUGUST = date(2026, 8, 1)


def usd(amount: int) -> Money:
    return Money(micros=amount * 1_000_000)


def tariff(units: int = 0, per: Period = Period.MONTH) -> Tariff:
    return Tariff(provider="sns", channel=Channel.SMS, prices=prices(PRICE), free=FreeTier(units=units, per=per))


def charge(units: int = 1, day: date = JULY, **changes: Any) -> Charge:
    fields: dict[str, Any] = {"day": day, "provider": "sns", "caller": "a", "units": units, "unbilled": units * PRICE}
    return Charge(**fields | changes)


def known(units: int = 1, day: date = JULY, **changes: Any) -> Spending:
    return spending(**{"day": day, "units": units, "estimated": units * PRICE, "caller": "a", **changes})


def sizes(ledger: Ledger) -> list[int]:
    """How many entries each of its maps by caller has."""
    state: Any = ledger
    known = [c for charges in state._known.values() for c in charges]
    return [len(state._callers), len(state._own), len(state._settling), len(known), len(state._counted)]


@pytest.mark.parametrize("budgets", [None, {"a": Budget()}, {"*": Budget(), "a": Budget()}], ids=str)
def test_callers_that_name_themselves_anew_each_time_take_a_bounded_space(budgets: dict[str, Budget] | None) -> None:
    ledger = Ledger([tariff()], budgets, most_callers=50)
    for _ in range(3):
        for number in range(500):
            ledger.charge(charge(caller=f"new-{number}"))
            ledger.charge(charge(caller="a"))
        ledger.settle()
        strangers = [known(caller=f"other-{number}") for number in range(500)]
        ledger.take([*strangers, known(500, caller="a")], JULY, JULY, settled=False)
    assert max(sizes(ledger)) <= 52
    assert ledger.provider("sns") == (3 * 1000 + 1000) * PRICE
    if budgets is not None:
        assert ledger.caller("a") == (3 * 500 + 500) * PRICE


def test_callers_beyond_those_that_are_counted_share_one_account() -> None:
    ledger = Ledger([tariff()], {"*": Budget(hard=usd(1))}, most_callers=2)
    for name in ("a", "b", "c", "d", "c"):
        ledger.charge(charge(caller=name))
    assert [ledger.caller(name) for name in ("a", "b", "c", "d", "e")] == [
        PRICE,
        PRICE,
        3 * PRICE,
        3 * PRICE,
        3 * PRICE,
    ]
    ledger.charge(charge(day=AUGUST, caller="e"))
    assert [ledger.caller(name) for name in ("a", "e")] == [0, PRICE]


@pytest.mark.parametrize(
    ("soft", "hard", "spent", "standing"),
    [
        (None, None, 10**12, Standing.WITHIN),
        (5, 10, 4_999_999, Standing.WITHIN),
        (5, 10, 5_000_000, Standing.PAST_SOFT),
        (5, 10, 10_000_000, Standing.PAST_HARD),
        (None, 10, 9_999_999, Standing.WITHIN),
        (5, None, 10**12, Standing.PAST_SOFT),
        (None, 0, 0, Standing.PAST_HARD),
    ],
)
def test_the_standing_of_a_spender(soft: int | None, hard: int | None, spent: int, standing: Standing) -> None:
    budget = Budget(soft=None if soft is None else usd(soft), hard=None if hard is None else usd(hard))
    assert budget.standing(spent) is standing


def test_a_caller_without_a_budget_of_its_own_has_that_of_the_others() -> None:
    own, others = Budget(hard=usd(1)), Budget(hard=usd(2))
    budgets = Budgets(callers={"a": own, "*": others})
    assert [budgets.of_caller(c) for c in ("a", "b", "")] == [own, others, others]
    assert Budgets(callers={"a": own}).of_caller("b") is None


def test_what_this_gateway_sent_is_added_to_what_the_database_knows() -> None:
    ledger = Ledger([tariff()])
    ledger.take([known(10)], JULY, JULY, settled=True)
    ledger.charge(charge(5))
    assert (ledger.provider("sns"), ledger.caller("a"), ledger.caller("b")) == (15 * PRICE, 15 * PRICE, 0)


def test_what_is_known_to_the_database_is_not_counted_twice() -> None:
    ledger = Ledger([tariff()])
    ledger.charge(charge(5))
    ledger.settle()
    ledger.charge(charge(2))  # While the database was asked.
    assert ledger.provider("sns") == 7 * PRICE
    ledger.take([known(5), known(3, caller="b")], JULY, JULY, settled=True)
    assert ledger.provider("sns") == (5 + 3 + 2) * PRICE
    assert ledger.caller("b") == 3 * PRICE


def test_what_the_database_may_lack_goes_on_being_counted() -> None:
    ledger = Ledger([tariff()])
    for _ in range(3):  # Each round the database was away, or the spool was not empty.
        ledger.charge(charge(1))
        ledger.settle()
        ledger.take([], JULY, JULY, settled=False)
    assert ledger.provider("sns") == 3 * PRICE
    ledger.settle()
    ledger.take([known(3)], JULY, JULY, settled=True)
    assert ledger.provider("sns") == 3 * PRICE


def test_a_look_at_today_leaves_the_earlier_days_as_they_were() -> None:
    ledger = Ledger([tariff()])
    ledger.take([known(10), known(1, END)], JULY, END, settled=True)
    ledger.take([known(2, END)], END, END, settled=True)
    assert ledger.provider("sns") == 12 * PRICE


def test_a_new_month_begins_at_nothing() -> None:
    ledger = Ledger([tariff(units=3)])
    ledger.take([known(10)], JULY, END, settled=True)
    ledger.charge(charge(5, AUGUST))
    assert (ledger.month, ledger.provider("sns"), ledger.caller("a")) == (AUGUST, 2 * PRICE, 5 * PRICE)
    ledger.charge(charge(5, END))  # Sent before midnight, told after.
    assert ledger.provider("sns") == 2 * PRICE


def test_a_bill_in_another_currency_counts_in_no_budget() -> None:
    ledger = Ledger([tariff()])
    ledger.take([known(10, currency="EUR")], JULY, JULY, settled=True)
    assert ledger.provider("sns") == 0


SENDS = st.lists(st.tuples(st.dates(JULY, END), st.integers(0, 2_000), st.booleans()), max_size=30)


@given(SENDS, st.integers(0, 5_000), st.sampled_from(Period))
def test_the_ledger_agrees_with_the_report(sends: list[tuple[date, int, bool]], free: int, per: Period) -> None:
    """However it learned of the sends: its own, or by the database."""
    one = tariff(free, per)
    ledger = Ledger([one])
    ledger.turn_to(JULY)
    ledger.take([known(units, day) for day, units, own in sends if not own], JULY, END, settled=True)
    for day, units, own in sends:
        if own:
            ledger.charge(charge(units, day))
    spent = [known(units, day) for day, units, _ in sends]
    used = free_units([one], (carried(s) for s in spent))
    total = round(sum(cost_of(s, used) for s in spent))
    assert abs(ledger.provider("sns") - total) <= 31  # A millionth for each period.
    assert ledger.caller("a") == sum(units for _, units, _ in sends) * PRICE


@given(SENDS)
def test_the_order_of_charges_does_not_matter(sends: list[tuple[date, int, bool]]) -> None:
    forth, back = Ledger([tariff(500, Period.DAY)]), Ledger([tariff(500, Period.DAY)])
    for ledger, order in ((forth, sends), (back, sends[::-1])):
        for day, units, settled in order:
            ledger.charge(charge(units, day + timedelta(0)))
            if settled:
                ledger.settle()
    assert forth.provider("sns") == back.provider("sns")
