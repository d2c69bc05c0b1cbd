"""The account behind SNS, as its control plane shows it.

Requests and answers: botocore's `sns` model. Everything here blocks, so it is for use in a thread.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from relaypost_server.core.accounts import SmsSpend
from relaypost_server.core.money import MICROS, Money
from relaypost_server.core.ports import Finding, Level
from relaypost_server.core.redaction import printable
from relaypost_server.core.suppression_ports import OptOutsUnreadableError
from relaypost_server.providers._aws import asked, control_client, look_up

LIMIT = "MonthlySpendLimit"
"""The name of the attribute; its value is a text of US dollars."""
LOOK_BACK = timedelta(hours=24)
"""The figure is published while messages are sent; an older one says nothing. Never beyond the month's begin."""
PERIOD = timedelta(minutes=5)


class SnsAccount:
    """Asks once, within `timeout` seconds."""

    def __init__(self, *, region: str, endpoint: str | None, metrics_endpoint: str | None, timeout: float) -> None:
        """`metrics_endpoint`: of CloudWatch, where the month's spend is published."""
        self._client = partial(control_client, "sns", region=region, endpoint=endpoint, timeout=timeout)
        self._metrics = partial(control_client, "cloudwatch", region=region, endpoint=metrics_endpoint, timeout=timeout)

    def sms_spend(self) -> SmsSpend:
        """Needs cloudwatch:GetMetricStatistics and sns:GetSMSAttributes."""
        now = datetime.now(UTC)
        with asked("sns"):
            found = self._metrics().get_metric_statistics(
                Namespace="AWS/SNS",
                MetricName="SMSMonthToDateSpentUSD",
                StartTime=max(now - LOOK_BACK, now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)),
                EndTime=now + PERIOD,  # The period that runs counts as well.
                Period=int(PERIOD.total_seconds()),
                Statistics=["Maximum"],
            )
            answer = self._client().get_sms_attributes(attributes=[LIMIT])
        latest = max(found.get("Datapoints", ()), key=lambda point: point["Timestamp"], default=None)
        return SmsSpend(
            spent=latest and Money.of(Decimal(str(latest["Maximum"]))),
            spent_time=latest and latest["Timestamp"],
            limit=_limit(answer),
        )

    def set_monthly_spend_limit(self, limit: Money) -> None:
        """Needs sns:SetSMSAttributes. AWS takes no more than it has granted the account."""
        with asked("sns"):
            self._client().set_sms_attributes(attributes={LIMIT: str(limit.micros // MICROS)})

    def look_around(self) -> Sequence[Finding]:
        """What stands in the way of sending."""
        client = self._client()
        return [
            look_up(
                "account",
                lambda: _sandbox(client.get_sms_sandbox_account_status()),
                fix="Allow sns:GetSMSSandboxAccountStatus, and set working credentials.",
            ),
            look_up(
                "spend limit",
                lambda: _spend_limit(client.get_sms_attributes(attributes=[LIMIT])),
                fix="Allow sns:GetSMSAttributes.",
            ),
        ]

    def opted_out(self) -> Collection[str]:
        """Every number that asked for no more messages of the account, page by page. Raises OptOutsUnreadableError."""
        try:
            pages = self._client().get_paginator("list_phone_numbers_opted_out").paginate()
            return {str(number) for page in pages for number in page.get("phoneNumbers", ())}
        except ClientError as error:
            code = printable(str(error.response.get("Error", {}).get("Code", "")), limit=100)
            raise OptOutsUnreadableError(f"AWS answered {code}. Allow sns:ListPhoneNumbersOptedOut.") from None
        except (BotoCoreError, ResponseParserError) as error:
            raise OptOutsUnreadableError(type(error).__name__) from None


def _sandbox(status: dict[str, Any]) -> Finding:
    if status.get("IsInSandbox"):
        fix = "Leave the sandbox in the SNS console, under Text messaging."
        return Finding(subject="account", level=Level.WARNING, detail="in the sandbox: verified numbers only", fix=fix)
    return Finding(subject="account", level=Level.OK, detail="out of the sandbox")


def _limit(answer: dict[str, Any]) -> Money | None:
    try:
        return Money.of(Decimal(answer["attributes"][LIMIT]))
    except (KeyError, TypeError, ArithmeticError):
        return None


def _spend_limit(answer: dict[str, Any]) -> Finding:
    limit = answer.get("attributes", {}).get(LIMIT)
    if limit is None:
        return Finding(
            subject="spend limit",
            level=Level.WARNING,
            detail="not set: a new account may spend 1 USD a month",
            fix="Ask AWS for a higher limit, then set MonthlySpendLimit.",
        )
    return Finding(subject="spend limit", level=Level.OK, detail=f"{limit} USD a month")
