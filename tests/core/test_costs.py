"""Tariffs, reports of costs, and the forecast."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from relaypost_server.core.costs import CostReport, Costs, Dimension, Group, Spending, cost_report
from relaypost_server.core.forecast import forecast
from relaypost_server.core.message import Channel
from relaypost_server.core.money import Money, PriceList
from relaypost_server.core.tariffs import FreeTier, Period, Tariff, Units, days_in, free_units, next_month
from tests.fakes.costs import spending

JULY = date(2026, 7, 1)
END = date(2026, 7, 31)


def prices(default: int | None = None, **by_country: int) -> PriceList:
    return PriceList(
        as_of=JULY,
        default=None if default is None else Money(micros=default),
        by_country={country: Money(micros=micros) for country, micros in by_country.items()},
    )


SES = Tariff(provider="ses", channel=Channel.EMAIL, prices=prices(100), free=FreeTier(units=62_000))
SENDGRID = Tariff(provider="sendgrid", channel=Channel.EMAIL, prices=prices(67), free=FreeTier(units=3_000))
SMTP = Tariff(provider="smtp", channel=Channel.EMAIL, prices=prices(0), free=FreeTier(units=500, per=Period.DAY))
SNS = Tariff(
    provider="sns",
    channel=Channel.SMS,
    prices=prices(US=6_450, CA=6_450),
    free=FreeTier(units=1_000, until=date(2026, 6, 30)),
)
TWILIO = Tariff(provider="twilio", channel=Channel.SMS, prices=prices(US=7_500, CA=7_500))
SEED = (SES, SENDGRID, SMTP, SNS, TWILIO)
"""The prices and free tiers of the seed; SNS's first year is over, as its table has it."""


def emails(day: date, units: int, **changes: object) -> Spending:
    fields = {
        "channel": Channel.EMAIL,
        "provider": "ses",
        "first_choice": "ses",
        "country": "",
        "estimated": 100 * units,
    }
    return spending(day=day, sends=units, units=units, **fields | changes)


def texts(day: date, units: int, **changes: object) -> Spending:
    return spending(**{"day": day, "sends": units, "units": units, "estimated": 6_450 * units, **changes})


def report(*spendings: Spending, first: date = JULY, last: date = END, by: tuple[Dimension, ...] = ()) -> CostReport:
    return cost_report(spendings, SEED, first=first, last=last, by=by)


def only(found: CostReport) -> Costs:
    [(_, costs)] = found.totals
    return costs


def test_the_seeds_table_comes_out_as_it_says() -> None:
    """10,000 users with an email and a text message for each of two codes: nothing, and 129 dollars; 21 are saved."""
    days = [JULY + timedelta(days=n) for n in range(20)]
    spent = [s for day in days for s in (emails(day, 1_000), texts(day, 1_000))]
    found = {group.channel: costs for group, costs in report(*spent, by=(Dimension.CHANNEL,)).lines}
    assert found[Channel.EMAIL].cost == 0
    assert found[Channel.SMS].cost == 129_000_000
    month = forecast(spent, SEED, now=datetime(2026, 8, 1, tzinfo=UTC) - timedelta(microseconds=1))
    assert {line.provider: (line.units, line.cost) for line in month.lines} == {
        "ses": (20_000, Money(micros=0)),
        "sns": (20_000, Money(micros=129_000_000)),
    }
    alone = {a.provider: a.cost for a in month.alternatives}
    assert alone["twilio"] == Money(micros=150_000_000)
    assert alone["twilio"].micros - 129_000_000 == 21_000_000


def test_in_its_first_year_sns_carries_a_thousand_for_nothing() -> None:
    first_year = Tariff(provider="sns", channel=Channel.SMS, prices=SNS.prices, free=FreeTier(units=1_000, until=END))
    found = cost_report([texts(JULY, 20_000)], [first_year], first=JULY, last=END, by=())
    assert only(found).cost == 19_000 * 6_450


def test_half_a_month_foretells_a_whole_one() -> None:
    spent = [texts(JULY, 4_000), texts(date(2026, 7, 15), 6_000), emails(JULY, 40_000)]
    month = forecast(spent, SEED, now=datetime(2026, 7, 16, 12, tzinfo=UTC))
    assert month.elapsed == 0.5
    lines = {line.provider: line for line in month.lines}
    assert (lines["sns"].units_so_far, lines["sns"].units) == (10_000, 20_000)
    assert (lines["sns"].cost_so_far.micros, lines["sns"].cost.micros) == (64_500_000, 129_000_000)
    # What is free so far will not be: 80,000 less 62,000.
    assert (lines["ses"].cost_so_far.micros, lines["ses"].cost.micros) == (0, 18_000 * 100)


def test_an_hour_does_not_foretell_a_month() -> None:
    month = forecast([texts(JULY, 100)], SEED, now=datetime(2026, 7, 1, 1, tzinfo=UTC))
    assert month.lines[0].units == 3_100


def test_a_provider_without_a_price_for_a_country_is_no_known_alternative() -> None:
    month = forecast(
        [texts(JULY, 1, country="NZ", unpriced=1, estimated=0)], SEED, now=datetime(2026, 7, 2, tzinfo=UTC)
    )
    assert {a.provider: a.cost for a in month.alternatives} == {"sns": None, "twilio": None}


def test_a_daily_tier_is_used_up_day_by_day() -> None:
    tariff = Tariff(provider="smtp", channel=Channel.EMAIL, prices=prices(10), free=SMTP.free)
    spent = [
        emails(JULY + timedelta(days=n), units, provider="smtp", first_choice="smtp", estimated=10 * units)
        for n, units in enumerate((400, 600))
    ]
    found = cost_report(spent, [tariff], first=JULY, last=END, by=(Dimension.DAY,))
    assert [costs.cost for _, costs in found.lines] == [0, 1_000]
    assert tariff.free.of_month(JULY) == 15_500


def test_a_months_tier_is_shared_by_all_of_its_days_and_callers() -> None:
    spent = [emails(JULY, 62_000, caller="a"), emails(END, 62_000, caller="b")]
    found = report(*spent, by=(Dimension.CALLER,))
    assert [(group.caller, costs.cost) for group, costs in found.lines] == [
        ("a", Fraction(3_100_000)),
        ("b", Fraction(3_100_000)),
    ]
    # A report of one day knows of the rest of the month.
    assert only(report(*spent, first=END)).cost == 3_100_000


def test_what_a_provider_billed_replaces_the_estimate() -> None:
    spent = texts(JULY, 3, billed=15_000, billed_sends=2, unbilled=6_450)
    costs = only(report(spent))
    assert (costs.estimated, costs.billed, costs.billed_sends, round(costs.cost)) == (19_350, 15_000, 2, 21_450)


def test_a_price_that_a_provider_billed_has_its_free_tier_in_it() -> None:
    costs = only(report(emails(JULY, 10, billed=700, billed_sends=10, unbilled=0)))
    assert costs.cost == 700


def test_second_copies_are_told_apart() -> None:
    costs = only(report(texts(JULY, 5), texts(JULY, 2, provider="twilio", duplicate=True, estimated=15_000)))
    assert (round(costs.cost), round(costs.duplicates), round(costs.dearer)) == (47_250, 15_000, 0)


@pytest.mark.parametrize(
    ("changes", "dearer"),
    [
        ({}, 2 * (7_500 - 6_450)),
        ({"first_choice": "twilio"}, 0),
        ({"provider": "sns", "first_choice": "twilio", "estimated": 12_900}, 0),
        ({"country": "NZ"}, 0),
        ({"first_choice": "gone"}, 0),
        ({"unpriced": 1}, 0),
        ({"currency": "EUR"}, 0),
    ],
)
def test_a_failover_to_a_dearer_provider_shows_what_it_added(changes: dict[str, object], dearer: int) -> None:
    spent = texts(JULY, 2, **{"provider": "twilio", "estimated": 15_000, **changes})
    assert only(report(spent)).dearer == dearer


def test_a_first_choice_that_is_still_free_would_have_cost_nothing() -> None:
    by_sendgrid = emails(JULY, 62_000, provider="sendgrid", estimated=67 * 62_000)
    assert only(report(by_sendgrid)).dearer == 59_000 * 67
    used_up = emails(JULY, 62_000)
    assert only(report(by_sendgrid, used_up)).dearer == 0


def test_currencies_are_never_added_up() -> None:
    found = report(
        texts(JULY, 1), texts(JULY, 1, currency="EUR", billed=5_000, billed_sends=1, unbilled=0, estimated=0)
    )
    assert {group.currency: costs.cost for group, costs in found.totals} == {"USD": 6_450, "EUR": 5_000}
    assert forecast([texts(JULY, 1, currency="EUR")], SEED, now=datetime(2026, 7, 2, tzinfo=UTC)).lines == []


def test_days_outside_count_for_tiers_only() -> None:
    found = report(texts(JULY, 1), texts(END, 1), first=JULY, last=JULY, by=(Dimension.DAY,))
    assert [group for group, _ in found.lines] == [Group(day=JULY, currency="USD")]


AMOUNTS = st.integers(0, 200_000)


@given(st.lists(st.tuples(st.dates(JULY, END), st.sampled_from(["a", "b"]), AMOUNTS), min_size=1, max_size=20))
def test_the_parts_of_a_report_make_up_the_whole(sends: list[tuple[date, str, int]]) -> None:
    spent = [emails(day, units, caller=caller) for day, caller, units in sends]
    total = sum(units for _, _, units in sends)
    for by in ((), (Dimension.DAY,), (Dimension.CALLER, Dimension.DAY)):
        found = report(*spent, by=by)
        assert sum((costs.cost for _, costs in found.lines), Fraction()) == max(0, total - 62_000) * 100
        assert sum(costs.units for _, costs in found.lines) == total


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)))
def test_months_follow_one_another(day: date) -> None:
    assert next_month(day) == day.replace(day=1) + timedelta(days=days_in(day))


def test_a_tier_ends_with_its_last_day() -> None:
    tier = FreeTier(units=10, per=Period.DAY, until=date(2026, 7, 3))
    assert tier.of_month(JULY) == 30
    tariff = Tariff(provider="x", channel=Channel.SMS, prices=prices(1), free=tier)
    used = free_units([tariff], [Units(provider="x", day=date(2026, 7, n), units=20) for n in (3, 4)])
    assert (used.charged("x", date(2026, 7, 3)), used.charged("x", date(2026, 7, 4))) == (Fraction(1, 2), Fraction(1))
    assert used.charged("unknown", JULY) == 1
