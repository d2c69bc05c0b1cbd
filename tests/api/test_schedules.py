"""When a message is to be sent, as requests say it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from relaypost.v1 import queue_service_pb2 as pb

from relaypost_server.api.schedules import read_schedule
from relaypost_server.api.violations import InvalidRequestError, Violations
from relaypost_server.core.queue import Lane, Schedule

NOW = datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC)


def at(**later: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(NOW + timedelta(**later))
    return stamp


def read(default: Lane = Lane.TRANSACTIONAL, **fields: Any) -> tuple[Schedule, list[str]]:
    """The schedule, and the fields that are complained about."""
    bad = Violations()
    schedule = read_schedule("schedule", pb.Schedule(**fields), default, NOW, bad)
    try:
        bad.check()
    except InvalidRequestError as error:
        return schedule, [field for field, _ in error.violations]
    return schedule, []


@pytest.mark.parametrize(
    ("fields", "due", "expires", "lane"),
    [
        ({}, None, None, Lane.TRANSACTIONAL),
        ({"lane": pb.LANE_OTP}, None, None, Lane.OTP),
        ({"lane": pb.LANE_BULK, "send_at": at(hours=2)}, 2, None, Lane.BULK),
        ({"send_at": at(hours=1), "expire_time": at(hours=3)}, 1, 3, Lane.TRANSACTIONAL),
        ({"expire_time": at(hours=3)}, None, 3, Lane.TRANSACTIONAL),
    ],
)
def test_times_that_the_caller_does_not_name_are_left_to_the_database(
    fields: dict[str, Any], due: int | None, expires: int | None, lane: Lane
) -> None:
    due_time, expire_time = (None if hours is None else NOW + timedelta(hours=hours) for hours in (due, expires))
    assert read(**fields) == (Schedule(due=due_time, expires=expire_time, lane=lane), [])


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"lane": 77}, ["lane"]),
        ({"send_at": at(minutes=-6)}, ["send_at"]),
        ({"send_at": at(days=367)}, ["send_at"]),
        ({"send_at": Timestamp(seconds=253_402_300_799)}, ["send_at"]),
        ({"send_at": Timestamp(seconds=-62_135_596_800)}, ["send_at"]),
        ({"send_at": Timestamp(seconds=2**62)}, ["send_at"]),
        ({"expire_time": at(seconds=0)}, ["expire_time"]),
        ({"expire_time": at(days=400)}, ["expire_time"]),
        ({"send_at": at(hours=2), "expire_time": at(hours=1)}, ["expire_time"]),
        ({"send_at": Timestamp(seconds=2**62), "expire_time": at(hours=-1)}, ["send_at", "expire_time"]),
    ],
)
def test_what_makes_no_sense_is_named(fields: dict[str, Any], named: list[str]) -> None:
    assert read(**fields)[1] == [f"schedule.{name}" for name in named]
