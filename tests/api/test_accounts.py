"""The accounts behind providers, asked over a real socket."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from relaypost.v1 import admin_service_pb2 as pb, message_pb2

from relaypost_server.core.accounts import AccountError, AccountTrouble, SenderIdentity, SendingQuota, SmsSpend
from relaypost_server.core.money import Money
from tests.api.conftest import Serve
from tests.api.status import failure_of
from tests.api.test_admin import admin

READ = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)


@dataclass
class FakeAccount:
    """Knows one sender, and counts how often it is asked."""

    asked: list[str] = field(default_factory=list)
    limit: Money | None = None
    error: Exception | None = None

    def _note(self, what: str) -> None:
        self.asked.append(what)
        if self.error:
            raise self.error

    def verify_sender(self, address: str) -> SenderIdentity:
        self._note(address)
        return SenderIdentity(identity="example.com", verified=True)

    def sending_quota(self) -> SendingQuota:
        self._note("quota")
        return SendingQuota(
            most_a_day=None,
            most_a_second=14.0,
            sent_in_a_day=120.0,
            sending_enabled=True,
            production=False,
            enforcement="HEALTHY",
            plan="",
        )

    def sms_spend(self) -> SmsSpend:
        self._note("spend")
        return SmsSpend(spent=Money(micros=12_500_000), spent_time=READ, limit=self.limit)

    def set_monthly_spend_limit(self, limit: Money) -> None:
        self._note("limit")
        self.limit = limit


@dataclass
class WithAccount:
    """A provider that has one."""

    account: Any


def usd(dollars: float) -> message_pb2.Money:
    return message_pb2.Money(currency_code="USD", micros=round(dollars * 1_000_000))


async def test_the_accounts_answer_and_are_asked_no_more_than_they_like(serve: Serve) -> None:
    account = FakeAccount()
    stub = admin(await serve(accounts=[WithAccount(account)]))
    quota = pb.GetSendingQuotaRequest()
    answers = await asyncio.gather(*(stub.GetSendingQuota(quota) for _ in range(20)))
    assert all((a.max_24_hour_send, a.max_send_rate, a.sent_last_24_hours) == (-1, 14, 120) for a in answers)
    assert (answers[0].sending_enabled, answers[0].production_access_enabled) == (True, False)
    for address in ("Ada@EXAMPLE.com", "Ada@example.com", "grace@example.com"):
        found = await stub.VerifySenderEmail(pb.VerifySenderEmailRequest(email_address=address))
        assert (found.identity, found.verified, found.verification_requested) == ("example.com", True, False)
    assert account.asked == ["quota", "Ada@example.com", "grace@example.com"]


async def test_a_new_limit_is_seen_at_once(serve: Serve) -> None:
    account = FakeAccount()
    stub = admin(await serve(accounts=[WithAccount(account)]))
    before = await stub.GetSmsSpend(pb.GetSmsSpendRequest())
    assert (before.spent, before.spent_time.ToDatetime(UTC)) == (usd(12.5), READ)
    assert not before.HasField("monthly_limit")
    changed = await stub.SetMonthlySpendLimit(pb.SetMonthlySpendLimitRequest(limit=usd(50)))
    assert changed.limit == usd(50)
    assert (await stub.GetSmsSpend(pb.GetSmsSpendRequest())).monthly_limit == usd(50)
    assert account.asked == ["spend", "limit", "spend"]


@pytest.mark.parametrize(
    ("limit", "fields"),
    [
        (None, {"limit"}),
        (usd(0), {"limit.micros"}),
        (usd(-5), {"limit.micros"}),
        (usd(12.5), {"limit.micros"}),
        (usd(1_000_001), {"limit.micros"}),
        (message_pb2.Money(currency_code="EUR", micros=1), {"limit.currency_code", "limit.micros"}),
    ],
)
async def test_a_limit_that_makes_no_sense_reaches_nobody(
    serve: Serve, limit: message_pb2.Money | None, fields: set[str]
) -> None:
    account = FakeAccount()
    stub = admin(await serve(accounts=[WithAccount(account)]))
    failure = await failure_of(stub.SetMonthlySpendLimit(pb.SetMonthlySpendLimitRequest(limit=limit)))
    assert set(failure.fields) == fields
    assert account.asked == []


@pytest.mark.parametrize("address", ["", "nobody", "a@b@c"])
async def test_a_sender_that_is_no_address_reaches_nobody(serve: Serve, address: str) -> None:
    account = FakeAccount()
    stub = admin(await serve(accounts=[WithAccount(account)]))
    failure = await failure_of(stub.VerifySenderEmail(pb.VerifySenderEmailRequest(email_address=address)))
    assert set(failure.fields) == {"email_address"}
    assert account.asked == []


async def test_a_gateway_without_aws_says_so(serve: Serve) -> None:
    stub = admin(await serve())
    for call in (
        stub.GetSendingQuota(pb.GetSendingQuotaRequest()),
        stub.VerifySenderEmail(pb.VerifySenderEmailRequest(email_address="ada@example.com")),
        stub.GetSmsSpend(pb.GetSmsSpendRequest()),
        stub.SetMonthlySpendLimit(pb.SetMonthlySpendLimitRequest(limit=usd(1))),
    ):
        failure = await failure_of(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PROVIDER_NOT_CONFIGURED")


@pytest.mark.parametrize(
    ("trouble", "code", "again"),
    [
        (AccountTrouble.REFUSED, grpc.StatusCode.FAILED_PRECONDITION, False),
        (AccountTrouble.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE, True),
    ],
)
async def test_what_the_vendor_refused_is_told_and_not_repeated(
    serve: Serve, trouble: AccountTrouble, code: grpc.StatusCode, again: bool
) -> None:
    account = FakeAccount(error=AccountError(trouble, provider="ses", code="AccessDenied", detail="AWS said no"))
    stub = admin(await serve(accounts=[WithAccount(account)]))
    for _ in range(3):
        failure = await failure_of(stub.GetSendingQuota(pb.GetSendingQuotaRequest()))
        assert (failure.code, failure.reason, failure.text) == (code, "PROVIDER_REFUSED", "AWS said no")
        assert (failure.retry_seconds is not None) is again
    assert account.asked == ["quota"]
