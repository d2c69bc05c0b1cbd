"""Reads when a message is to be sent."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from relaypost.v1 import queue_service_pb2 as pb

from relaypost_server.api.violations import Violations
from relaypost_server.core.queue import FARTHEST, Lane, Schedule

LANES = {lane: pb.Lane.Value(f"LANE_{lane.name}") for lane in Lane}
_LANES = {packed: lane for lane, packed in LANES.items()}
_EARLIEST = timedelta(minutes=5)
"""How long ago a message may have been due: clocks differ, and requests are repeated."""


def read_schedule(field: str, schedule: pb.Schedule, default: Lane, now: datetime, bad: Violations) -> Schedule:
    """The schedule; `default` is the lane of those who name none."""
    if schedule.lane and schedule.lane not in _LANES:
        bad.add(f"{field}.lane", "is not a known lane")
    lane = _LANES.get(schedule.lane, default)
    due = expires = None
    if schedule.HasField("send_at"):
        due = _moment(f"{field}.send_at", schedule.send_at, now, bad)
        if not now - _EARLIEST <= due <= now + FARTHEST:
            bad.add(f"{field}.send_at", f"must be from now to {FARTHEST.days} days ahead")
            due = None  # The sums below would overflow the calendar.
    if schedule.HasField("expire_time"):
        expires, start = _moment(f"{field}.expire_time", schedule.expire_time, now, bad), due or now
        if not max(start, now) < expires <= start + FARTHEST:
            bad.add(f"{field}.expire_time", f"must be later than now and send_at, by {FARTHEST.days} days at most")
    return Schedule(due=due, expires=expires, lane=lane)


def _moment(field: str, value: Timestamp, now: datetime, bad: Violations) -> datetime:
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        bad.add(field, "is not a time from the years 1 to 9999")
        return now
