"""OtpService."""

from collections.abc import Iterator
from contextlib import contextmanager

from relaypost.v1 import otp_service_pb2 as pb, otp_service_pb2_grpc

from relaypost_server.api import errors, otp_errors, pack
from relaypost_server.api.edge import Context
from relaypost_server.api.errors import ApiError
from relaypost_server.api.otp_requests import read_client, read_otp_id, read_otp_request
from relaypost_server.api.request_keys import read_caller
from relaypost_server.api.violations import InvalidRequestError, Violations
from relaypost_server.core.limits import LimitReachedError
from relaypost_server.core.otp import (
    CountryNotAllowedError,
    OtpAttemptsUsedUpError,
    OtpNotVerifiedError,
    OtpOverError,
)
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.rendering import RenderError
from relaypost_server.flow.otp import Otps, SentOtp
from relaypost_server.flow.requests import RequestInProgressError, RequestReusedError


class OtpServicer(otp_service_pb2_grpc.OtpServiceServicer):
    """Unpacks, calls the flow, packs."""

    def __init__(self, otps: Otps) -> None:
        self._otps = otps

    async def SendOtp(self, request: pb.SendOtpRequest, context: Context) -> pb.SendOtpResponse:
        bad = Violations()
        wanted = read_otp_request(request, context, bad)
        client = read_client(request.client_address, bad)
        bad.check()
        if not self._otps.configured(wanted.channel):
            raise ApiError(errors.not_configured(wanted.channel))
        with _explained():
            made = await self._otps.send(
                wanted, client=client, time_left=context.time_remaining(), adjustments=bad.adjustments
            )
        _check(made)
        response = pb.SendOtpResponse(
            otp_id=made.otp.id,
            expire_time=pack.time(made.otp.expire_time),
            resend_time=pack.time(made.resend_time),
            replayed=made.sent.replayed,
            confirm_until=pack.time(made.sent.confirm_until),
        )
        pack.fill_message(response.message, made.sent.record)
        return response

    async def VerifyOtp(self, request: pb.VerifyOtpRequest, context: Context) -> pb.VerifyOtpResponse:
        bad = Violations()
        otp_id, caller = read_otp_id(request.otp_id, bad), read_caller(context, bad)
        if not request.code:
            bad.add("code", "is required")
        bad.check()
        with _explained():
            proven = await self._otps.verify(otp_id, request.code, caller)
        return pb.VerifyOtpResponse(verified=True, purpose=proven.purpose, destination=proven.destination)

    async def ResendOtp(self, request: pb.ResendOtpRequest, context: Context) -> pb.ResendOtpResponse:
        bad = Violations()
        otp_id, caller = read_otp_id(request.otp_id, bad), read_caller(context, bad)
        client = read_client(request.client_address, bad)
        bad.check()
        with _explained():
            made = await self._otps.resend(otp_id, caller, client=client, time_left=context.time_remaining())
        _check(made)
        response = pb.ResendOtpResponse(
            otp_id=made.otp.id,
            expire_time=pack.time(made.otp.expire_time),
            resend_time=pack.time(made.resend_time),
            confirm_until=pack.time(made.sent.confirm_until),
        )
        pack.fill_message(response.message, made.sent.record)
        return response

    async def CancelOtp(self, request: pb.CancelOtpRequest, context: Context) -> pb.CancelOtpResponse:
        bad = Violations()
        otp_id, caller = read_otp_id(request.otp_id, bad), read_caller(context, bad)
        bad.check()
        with _explained():
            await self._otps.cancel(otp_id, caller)
        return pb.CancelOtpResponse()


def _check(made: SentOtp) -> None:
    failure = errors.of_verdict(made.sent)
    if failure is not None:
        raise ApiError(failure)


_STATUSES = {
    CountryNotAllowedError: otp_errors.country_not_allowed,
    LogUnavailableError: otp_errors.unavailable,
    OtpAttemptsUsedUpError: otp_errors.attempts_used_up,
    OtpNotVerifiedError: otp_errors.not_verified,
    OtpOverError: otp_errors.over,
    RequestInProgressError: errors.request_in_progress,
    RequestReusedError: errors.request_reused,
}


@contextmanager
def _explained() -> Iterator[None]:
    """Makes a status of what the flow refuses."""
    try:
        yield
    except RenderError as error:
        raise InvalidRequestError(error.violations) from None
    except LimitReachedError as error:
        raise ApiError(otp_errors.limit_reached(error)) from None
    except tuple(_STATUSES) as error:
        status = next(make for kind, make in _STATUSES.items() if isinstance(error, kind))
        raise ApiError(status()) from None
