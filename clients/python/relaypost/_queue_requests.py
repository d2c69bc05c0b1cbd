"""Builds requests of the queue out of plain Python values."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TypedDict

from relaypost._requests import EmailFields, SmsFields, email_request, sms_request
from relaypost.v1 import queue_service_pb2 as pb


class ScheduleFields(TypedDict, total=False):
    """When a message is to be sent; `relaypost.v1.Schedule` documents the bounds."""

    send_at: datetime
    expire_time: datetime
    lane: str
    """"otp", "transactional" or "bulk"."""


class QueuedEmailFields(EmailFields, ScheduleFields, total=False):
    """The arguments of `enqueue_email`."""


class QueuedSmsFields(SmsFields, ScheduleFields, total=False):
    """The arguments of `enqueue_sms`."""


def enqueue_email_request(fields: QueuedEmailFields) -> pb.EnqueueEmailRequest:
    made = email_request(fields)
    return pb.EnqueueEmailRequest(
        email=made.email,
        schedule=_schedule(fields),
        delivery_guarantee=made.delivery_guarantee,
        metadata=made.metadata,
        request_id=made.request_id,
    )


def enqueue_sms_request(fields: QueuedSmsFields) -> pb.EnqueueSmsRequest:
    made = sms_request(fields)
    return pb.EnqueueSmsRequest(
        sms=made.sms,
        schedule=_schedule(fields),
        delivery_guarantee=made.delivery_guarantee,
        metadata=made.metadata,
        request_id=made.request_id,
    )


def bulk_email(**fields: object) -> pb.BulkMessage:
    """A message of `send_bulk`: the arguments of `send_email` but `request_id` and `at_most_once`."""
    made = email_request(fields)  # type: ignore[arg-type]
    return pb.BulkMessage(email=made.email, metadata=made.metadata)


def bulk_sms(**fields: object) -> pb.BulkMessage:
    """A message of `send_bulk`: the arguments of `send_sms` but `request_id` and `at_most_once`."""
    made = sms_request(fields)  # type: ignore[arg-type]
    return pb.BulkMessage(sms=made.sms, metadata=made.metadata)


def bulk_requests(header: pb.BulkHeader, messages: Iterable[pb.BulkMessage]) -> Iterator[pb.SendBulkRequest]:
    """The stream of a batch; nothing is held but the message that is on its way."""
    yield pb.SendBulkRequest(header=header)
    for message in messages:
        yield pb.SendBulkRequest(message=message)


def bulk_header(request_id: str, schedule: ScheduleFields, *, validate_only: bool = False) -> pb.BulkHeader:
    return pb.BulkHeader(request_id=request_id, schedule=_schedule(schedule), validate_only=validate_only)


def _schedule(fields: ScheduleFields) -> pb.Schedule:
    schedule = pb.Schedule(lane=pb.Lane.Value(f"LANE_{fields.get('lane', 'unspecified').upper()}"))
    if (send_at := fields.get("send_at")) is not None:
        schedule.send_at.FromDatetime(send_at)
    if (expire_time := fields.get("expire_time")) is not None:
        schedule.expire_time.FromDatetime(expire_time)
    return schedule
