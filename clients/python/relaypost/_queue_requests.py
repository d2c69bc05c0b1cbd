"""Builds requests of the queue out of plain Python values."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TypedDict, Unpack

from relaypost._keywords import check_keywords
from relaypost._requests import (
    BulkEmailFields,
    BulkSmsFields,
    EmailFields,
    QueuedSmsOptions,
    email_content,
    guarantee,
    sms_content,
)
from relaypost.v1 import queue_service_pb2 as pb


class ScheduleFields(TypedDict, total=False):
    """When a message is to be sent; `relaypost.v1.Schedule` documents the bounds."""

    send_at: datetime
    expire_time: datetime
    lane: str
    """"otp", "transactional" or "bulk"."""


class QueuedEmailFields(EmailFields, ScheduleFields, total=False):
    """The arguments of `enqueue_email`."""


class QueuedSmsFields(QueuedSmsOptions, ScheduleFields, total=False):
    """The arguments of `enqueue_sms`."""


def enqueue_email_request(fields: QueuedEmailFields) -> pb.EnqueueEmailRequest:
    check_keywords(fields, QueuedEmailFields)
    return pb.EnqueueEmailRequest(
        email=email_content(fields),
        schedule=_schedule(fields),
        delivery_guarantee=guarantee(fields),
        metadata=fields.get("metadata"),
        request_id=fields.get("request_id", ""),
    )


def enqueue_sms_request(fields: QueuedSmsFields) -> pb.EnqueueSmsRequest:
    check_keywords(fields, QueuedSmsFields)
    return pb.EnqueueSmsRequest(
        sms=sms_content(fields),
        schedule=_schedule(fields),
        delivery_guarantee=guarantee(fields),
        metadata=fields.get("metadata"),
        request_id=fields.get("request_id", ""),
    )


def bulk_email(**fields: Unpack[BulkEmailFields]) -> pb.BulkMessage:
    """A message of `send_bulk`: the arguments of `send_email` but `request_id` and `at_most_once`."""
    check_keywords(fields, BulkEmailFields)
    return pb.BulkMessage(email=email_content(fields), metadata=fields.get("metadata"))


def bulk_sms(**fields: Unpack[BulkSmsFields]) -> pb.BulkMessage:
    """A message of `send_bulk`: the arguments of `send_sms` that describe the message itself."""
    check_keywords(fields, BulkSmsFields)
    return pb.BulkMessage(sms=sms_content(fields), metadata=fields.get("metadata"))


def bulk_requests(header: pb.BulkHeader, messages: Iterable[pb.BulkMessage]) -> Iterator[pb.SendBulkRequest]:
    """The stream of a batch; nothing is held but the message that is on its way."""
    yield pb.SendBulkRequest(header=header)
    for message in messages:
        yield pb.SendBulkRequest(message=message)


def bulk_header(request_id: str, schedule: ScheduleFields, *, validate_only: bool = False) -> pb.BulkHeader:
    check_keywords(schedule, ScheduleFields)
    return pb.BulkHeader(request_id=request_id, schedule=_schedule(schedule), validate_only=validate_only)


def _schedule(fields: ScheduleFields) -> pb.Schedule:
    schedule = pb.Schedule(lane=pb.Lane.Value(f"LANE_{fields.get('lane', 'unspecified').upper()}"))
    if (send_at := fields.get("send_at")) is not None:
        schedule.send_at.FromDatetime(send_at)
    if (expire_time := fields.get("expire_time")) is not None:
        schedule.expire_time.FromDatetime(expire_time)
    return schedule
