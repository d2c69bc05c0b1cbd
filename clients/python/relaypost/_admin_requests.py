"""Builds what operators ask for out of plain Python values."""

from collections.abc import Iterable
from datetime import date
from typing import TypedDict

from relaypost._keywords import check_keywords
from relaypost.v1 import admin_service_pb2 as admin_pb, message_pb2


class CostQuery(TypedDict, total=False):
    """The arguments of `cost_report`; `relaypost.v1.GetCostReportRequest` documents them."""

    first_day: date
    last_day: date
    group_by: "Iterable[admin_pb.CostDimension.ValueType]"
    channel: "message_pb2.Channel.ValueType"


def resolve_request(message_id: str, *, sent: bool) -> admin_pb.ResolveMessageRequest:
    resolution = admin_pb.RESOLUTION_SENT if sent else admin_pb.RESOLUTION_NOT_SENT
    return admin_pb.ResolveMessageRequest(message_id=message_id, resolution=resolution)


def cost_request(query: CostQuery) -> admin_pb.GetCostReportRequest:
    check_keywords(query, CostQuery)
    first, last = query.get("first_day"), query.get("last_day")
    return admin_pb.GetCostReportRequest(
        first_day=first.isoformat() if first else "",
        last_day=last.isoformat() if last else "",
        group_by=query.get("group_by", ()),
        channel=query.get("channel", message_pb2.CHANNEL_UNSPECIFIED),
    )


def spend_limit_request(dollars: int) -> admin_pb.SetMonthlySpendLimitRequest:
    limit = message_pb2.Money(currency_code="USD", micros=dollars * 1_000_000)
    return admin_pb.SetMonthlySpendLimitRequest(limit=limit)
