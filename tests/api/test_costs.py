"""Reports of costs over a real socket."""

from datetime import UTC, date, datetime
from typing import Any

import grpc
import pytest
from relaypost.v1 import admin_service_pb2 as pb, message_pb2

from relaypost_server.core.message import Channel
from tests.api.conftest import Serve
from tests.api.status import failure_of
from tests.api.test_admin import admin
from tests.core.test_costs import SEED
from tests.fakes.costs import FakeCosts, spending
from tests.fakes.providers import FakeClock

JULY_16 = datetime(2026, 7, 16, 12, tzinfo=UTC)


def micros(money: message_pb2.Money) -> int:
    assert money.currency_code == "USD"
    return money.micros


async def test_a_report_tells_apart_what_it_is_asked_to(serve: Serve) -> None:
    doubled: dict[str, Any] = {"provider": "twilio", "duplicate": True, "estimated": 7_500, "caller": "signup"}
    costs = FakeCosts([spending(sends=3, units=4, estimated=25_800), spending(**doubled)])
    served = await serve(costs=costs, tariffs=SEED, clock=FakeClock(wall=JULY_16))
    by = [pb.COST_DIMENSION_DAY, pb.COST_DIMENSION_CALLER]
    report = await admin(served).GetCostReport(pb.GetCostReportRequest(group_by=by))
    assert (report.first_day, report.last_day) == ("2026-07-01", "2026-07-16")
    first, second = report.lines
    assert (first.day, first.caller, first.provider, first.channel) == ("2026-07-01", "", "", 0)
    assert (first.costs.sends, first.costs.units, micros(first.costs.cost)) == (3, 4, 25_800)
    assert (second.caller, micros(second.costs.duplicates)) == ("signup", 7_500)
    [total] = report.totals
    assert (total.sends, micros(total.estimated), micros(total.cost)) == (4, 33_300, 33_300)
    month = report.forecast
    assert (month.month, month.elapsed) == ("2026-07-01", 0.5)
    assert [(line.provider, line.units_so_far, line.units) for line in month.lines] == [("sns", 4, 8), ("twilio", 1, 2)]
    assert {a.provider: micros(a.cost) for a in month.alternatives} == {"sns": 51_600, "twilio": 60_000}


async def test_by_default_channels_and_providers_are_told_apart(serve: Serve) -> None:
    costs = FakeCosts([spending(), spending(channel=Channel.EMAIL, provider="ses", first_choice="ses", country="")])
    stub = admin(await serve(costs=costs, clock=FakeClock(wall=JULY_16)))
    report = await stub.GetCostReport(pb.GetCostReportRequest())
    assert {(line.channel, line.provider) for line in report.lines} == {
        (message_pb2.CHANNEL_SMS, "sns"),
        (message_pb2.CHANNEL_EMAIL, "ses"),
    }
    emails = await stub.GetCostReport(pb.GetCostReportRequest(channel=message_pb2.CHANNEL_EMAIL))
    assert [line.provider for line in emails.lines] == ["ses"]


async def test_free_tiers_span_whole_months(serve: Serve) -> None:
    costs = FakeCosts()
    served = await serve(costs=costs, tariffs=SEED, clock=FakeClock(wall=JULY_16))
    days = pb.GetCostReportRequest(first_day="2026-05-20", last_day="2026-06-10")
    await admin(served).GetCostReport(days)
    assert costs.asked == [(date(2026, 5, 1), date(2026, 6, 30)), (date(2026, 7, 1), date(2026, 7, 16))]


@pytest.mark.parametrize(
    ("request_fields", "fields"),
    [
        ({"first_day": "yesterday"}, {"first_day"}),
        ({"first_day": "1999-12-31", "last_day": "9999-12-31"}, {"first_day", "last_day"}),
        ({"first_day": "2026-07-02", "last_day": "2026-07-01"}, {"first_day"}),
        ({"first_day": "2025-07-01"}, {"first_day"}),
        ({"group_by": [1, 1]}, {"group_by"}),
        ({"group_by": [0]}, {"group_by"}),
        ({"group_by": [99], "channel": 7}, {"group_by", "channel"}),
    ],
)
async def test_a_report_that_makes_no_sense(serve: Serve, request_fields: dict[str, Any], fields: set[str]) -> None:
    costs = FakeCosts()
    served = await serve(costs=costs, clock=FakeClock(wall=JULY_16))
    failure = await failure_of(admin(served).GetCostReport(pb.GetCostReportRequest(**request_fields)))
    assert set(failure.fields) == fields
    assert costs.asked == []


async def test_a_report_of_too_many_lines_is_refused_and_not_cut_short(serve: Serve) -> None:
    costs = FakeCosts([spending(caller=f"c{n}") for n in range(5_001)])
    stub = admin(await serve(costs=costs, clock=FakeClock(wall=JULY_16)))
    failure = await failure_of(stub.GetCostReport(pb.GetCostReportRequest(group_by=[pb.COST_DIMENSION_CALLER])))
    assert set(failure.fields) == {"group_by"}


async def test_without_the_database_there_is_no_report(serve: Serve) -> None:
    served = await serve(costs=FakeCosts(available=False))
    failure = await failure_of(admin(served).GetCostReport(pb.GetCostReportRequest()))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "MESSAGE_LOG_UNAVAILABLE")
