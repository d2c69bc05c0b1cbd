"""AdminService."""

from collections.abc import Iterator
from contextlib import contextmanager

from relaypost.v1 import admin_service_pb2 as pb, admin_service_pb2_grpc

from relaypost_server.api import errors, pack
from relaypost_server.api.account_errors import of_account
from relaypost_server.api.addresses import read_email_address
from relaypost_server.api.cost_reports import pack_report, read_request
from relaypost_server.api.edge import Context
from relaypost_server.api.errors import ApiError
from relaypost_server.api.request_keys import read_message_id
from relaypost_server.api.violations import Violations
from relaypost_server.core.accounts import AccountError
from relaypost_server.core.money import MICROS, Money
from relaypost_server.core.ports import MessageLog
from relaypost_server.flow.accounts import AccountsReader
from relaypost_server.flow.costs import CostReader

LARGEST_LIMIT = 1_000_000
"""US dollars a month; a typing error of some zeros should not pass."""
_SENT = {pb.RESOLUTION_SENT: True, pb.RESOLUTION_NOT_SENT: False}


class AdminServicer(admin_service_pb2_grpc.AdminServiceServicer):
    """What an operator may do."""

    def __init__(self, message_log: MessageLog, accounts: AccountsReader, costs: CostReader) -> None:
        self._log = message_log
        self._accounts = accounts
        self._costs = costs

    async def ResolveMessage(self, request: pb.ResolveMessageRequest, context: Context) -> pb.ResolveMessageResponse:
        bad = Violations()
        message_id = read_message_id(request.message_id, bad)
        sent = _SENT.get(request.resolution)
        if sent is None:
            bad.add("resolution", "is not a known resolution" if request.resolution else "is required")
        bad.check()
        record = await self._log.resolve(message_id, sent=bool(sent))
        if record is None:
            known = await self._log.get(message_id)
            raise ApiError(errors.not_unconfirmed() if known else errors.message_not_found())
        response = pb.ResolveMessageResponse()
        pack.fill_message(response.message, record)
        return response

    async def VerifySenderEmail(
        self, request: pb.VerifySenderEmailRequest, context: Context
    ) -> pb.VerifySenderEmailResponse:
        bad = Violations()
        if not request.email_address:
            bad.add("email_address", "is required")
        address = read_email_address("email_address", request.email_address, bad)
        bad.check()
        with _explained():
            found = await self._accounts.verify_sender(address)
        return pb.VerifySenderEmailResponse(
            email_address=address,
            identity=found.identity,
            verified=found.verified,
            verification_requested=found.requested,
        )

    async def GetSendingQuota(self, request: pb.GetSendingQuotaRequest, context: Context) -> pb.GetSendingQuotaResponse:
        with _explained():
            quota = await self._accounts.sending_quota()
        return pb.GetSendingQuotaResponse(
            max_24_hour_send=-1 if quota.most_a_day is None else quota.most_a_day,
            max_send_rate=quota.most_a_second,
            sent_last_24_hours=quota.sent_in_a_day,
            sending_enabled=quota.sending_enabled,
            production_access_enabled=quota.production,
            enforcement_status=quota.enforcement,
            pricing_plan=quota.plan,
        )

    async def GetSmsSpend(self, request: pb.GetSmsSpendRequest, context: Context) -> pb.GetSmsSpendResponse:
        with _explained():
            spend = await self._accounts.sms_spend()
        return pb.GetSmsSpendResponse(
            spent=pack.money(spend.spent),
            spent_time=pack.time(spend.spent_time),
            monthly_limit=pack.money(spend.limit),
        )

    async def SetMonthlySpendLimit(
        self, request: pb.SetMonthlySpendLimitRequest, context: Context
    ) -> pb.SetMonthlySpendLimitResponse:
        bad = Violations()
        limit = _read_limit(request, bad)
        bad.check()
        with _explained():
            await self._accounts.set_monthly_spend_limit(limit)
        return pb.SetMonthlySpendLimitResponse(limit=pack.money(limit))

    async def GetCostReport(self, request: pb.GetCostReportRequest, context: Context) -> pb.GetCostReportResponse:
        bad = Violations()
        wanted = read_request(request, self._costs.today(), bad)
        bad.check()
        report = await self._costs.report(wanted.first, wanted.last, by=wanted.by, channel=wanted.channel)
        return pack_report(wanted, report, await self._costs.forecast(channel=wanted.channel))


def _read_limit(request: pb.SetMonthlySpendLimitRequest, bad: Violations) -> Money:
    limit = Money(micros=request.limit.micros)
    if not request.HasField("limit"):
        bad.add("limit", "is required")
        return limit
    if request.limit.currency_code != limit.currency:
        bad.add("limit.currency_code", "must be USD")
    if limit.micros % MICROS or not 1 <= limit.micros // MICROS <= LARGEST_LIMIT:
        bad.add("limit.micros", f"must be whole dollars, from 1 to {LARGEST_LIMIT}")
    return limit


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except AccountError as error:
        raise ApiError(of_account(error)) from None
