"""Sends one-time passwords, and checks them."""

import secrets
from dataclasses import dataclass
from datetime import datetime

import structlog

from relaypost_server.core.adjustments import Adjustment
from relaypost_server.core.idempotency import RequestKey
from relaypost_server.core.limits import LimitReachedError, Refusal
from relaypost_server.core.message import Channel, Email, Sms
from relaypost_server.core.otp import (
    FAILURES,
    CountryNotAllowedError,
    Guess,
    Otp,
    OtpAttemptsUsedUpError,
    OtpNotVerifiedError,
    OtpOverError,
    OtpPolicy,
    OtpRequest,
    OtpSpent,
    typed_code,
)
from relaypost_server.core.otp_codes import Bound, Peppers
from relaypost_server.core.ports import OtpStore
from relaypost_server.core.redaction import mask
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.ids import new_id
from relaypost_server.flow.otp_messages import OtpComposer
from relaypost_server.flow.requests import RequestReusedError
from relaypost_server.flow.send import Sender, Sent
from relaypost_server.telemetry.metrics import Metrics

METHOD = "SendOtp"
"""Under which the messages that carry codes are claimed."""
PUMPING = frozenset({"prefix", "conversion"})
"""Limits that few but fraudsters reach."""
ALERT_SECONDS = 60.0
"""Between two alerts about the same prefix."""

log = structlog.get_logger("relaypost.otp")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentOtp:
    """A code that is kept, and the message that carries it."""

    otp: Otp
    resend_time: datetime
    sent: Sent


class Otps:
    """The life of codes, from the draw to the day they are over."""

    def __init__(
        self,
        store: OtpStore,
        peppers: Peppers,
        policy: OtpPolicy,
        composer: OtpComposer,
        *,
        emails: Sender[Email],
        texts: Sender[Sms],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._store = store
        self._peppers = peppers
        self._policy = policy
        self._composer = composer
        self._emails = emails
        self._texts = texts
        self._metrics = metrics
        self._clock = clock
        self._alerted: dict[str, float] = {}

    def configured(self, channel: Channel) -> bool:
        """Whether the channel has any provider."""
        return self._emails.configured if channel is Channel.EMAIL else self._texts.configured

    async def send(
        self, request: OtpRequest, *, client: str, time_left: float | None, adjustments: tuple[Adjustment, ...] = ()
    ) -> SentOtp:
        """Keeps a new code, then sends it; or answers as an earlier request of the same name was answered.

        `client`: the address of the person who asked the caller; "" for unknown.
        `adjustments`: what was changed when the request was read.
        Raises RenderError, CountryNotAllowedError, LimitReachedError,
        OtpOverError, RequestReusedError, RequestInProgressError or
        LogUnavailableError; then nothing was sent.
        """
        if not self._policy.allows(request):
            self._refuse(request, "country")
            raise CountryNotAllowedError
        code = _draw(request.length)
        content = self._compose(request, code, request.ttl)
        otp_id = new_id(self._clock.wall())
        stored = self._peppers.store(code, _bound(otp_id, request))
        charged = self._policy.charges(request, client)
        try:
            otp = await self._store.create(otp_id, request, stored, charged=charged, policy=self._policy)
        except LimitReachedError as error:
            self._report(request, error)
            raise
        if otp is None:
            raise RequestReusedError
        if otp.id != otp_id:
            content = self._compose(otp.request, self._open(otp), otp.time_left)
        return await self._deliver(otp, content, number=1, time_left=time_left, adjustments=adjustments)

    async def resend(self, otp_id: str, caller: str, *, client: str, time_left: float | None) -> SentOtp:
        """Sends a code once more while it lives. Raises as `send` does; OtpOverError where it does not live."""
        otp = await self._store.find(otp_id, caller, attempts=self._policy.attempts)
        if otp is None:
            raise OtpOverError
        code, renewed = self._open(otp), None
        if self._policy.rotate:
            code = _draw(otp.request.length)
            renewed = self._peppers.store(code, otp.bound, generation=otp.code.generation + 1)
        charged = self._policy.charges(otp.request, client)
        try:
            counted = await self._store.resend(otp, renewed=renewed, charged=charged, policy=self._policy)
        except LimitReachedError as error:
            self._report(otp.request, error)
            raise
        if counted is None:
            raise OtpOverError
        content = self._compose(counted.request, code, counted.time_left)
        return await self._deliver(counted, content, number=counted.sends, time_left=time_left)

    async def verify(self, otp_id: str, typed: str, caller: str) -> Guess:
        """Uses a code up that was typed right; what was proven with it.

        What cannot be the code, for it has not as many digits, is refused like a wrong one and costs no attempt.
        Raises OtpNotVerifiedError, OtpAttemptsUsedUpError, LimitReachedError or LogUnavailableError.
        """
        code = typed_code(typed)
        found = await self._store.guess(otp_id, caller, len(code))
        if isinstance(found, Refusal):
            self._metrics.otp("refused", FAILURES)
            raise LimitReachedError([found])
        if isinstance(found, OtpSpent):
            self._metrics.otp("not_verified", "attempts")
            raise OtpAttemptsUsedUpError
        # Compared even where there is nothing to compare with, so that it takes as long.
        right = self._peppers.matches(code, found.code, found.bound) if found else self._peppers.matches(code, None)
        if found is None or not right or not await self._store.use(found):
            self._metrics.otp("not_verified", "code")
            raise OtpNotVerifiedError
        self._metrics.otp("verified", found.channel)
        return found

    async def cancel(self, otp_id: str, caller: str) -> None:
        """Ends a code's life, if there is such a code. Raises LogUnavailableError."""
        await self._store.cancel(otp_id, caller)

    def _compose(self, request: OtpRequest, code: str, time_left: float) -> Email | Sms:
        if time_left <= 0:
            raise OtpOverError
        compose = self._composer.email if request.channel is Channel.EMAIL else self._composer.sms
        return compose(request, code, time_left)

    def _open(self, otp: Otp) -> str:
        code = self._peppers.open(otp.code, otp.bound)
        if code is None:  # Its pepper is gone: nobody can use it any more.
            raise OtpOverError
        return code

    async def _deliver(
        self,
        otp: Otp,
        content: Email | Sms,
        *,
        number: int,
        time_left: float | None,
        adjustments: tuple[Adjustment, ...] = (),
    ) -> SentOtp:
        request = otp.request
        key = RequestKey(caller=request.caller, method=METHOD, request_id=otp.name_of_send(number))
        notes = {"otp_id": otp.id, "purpose": request.purpose}
        if isinstance(content, Email):
            sent = await self._emails.send(
                content,
                guarantee=request.guarantee,
                metadata=notes,
                time_left=time_left,
                caller_name=request.caller,
                key=key,
                asked=request.fingerprint,
                confirm=otp.confirm(number),
                adjustments=adjustments,
            )
        else:
            sent = await self._texts.send(
                content,
                guarantee=request.guarantee,
                metadata=notes,
                time_left=time_left,
                caller_name=request.caller,
                key=key,
                asked=request.fingerprint,
                confirm=otp.confirm(number),
                adjustments=adjustments,
            )
        self._metrics.otp("sent", sent.record.state)
        return SentOtp(otp=otp, resend_time=self._policy.resend_time(otp), sent=sent)

    def _refuse(self, request: OtpRequest, limit: str) -> None:
        self._metrics.otp("refused", limit)
        log.info("otp refused", limit=limit, destination=mask(request.destination), caller=request.caller)

    def _report(self, request: OtpRequest, error: LimitReachedError) -> None:
        for refusal in error.refusals:
            self._refuse(request, refusal.limit)
        found = PUMPING.intersection(r.limit for r in error.refusals)
        if found and self._is_news(request.prefix):
            log.error("otp pumping suspected", limits=sorted(found), prefix=request.prefix, country=request.country)

    def _is_news(self, prefix: str) -> bool:
        """Whether no alert was raised about the prefix of late."""
        now = self._clock.monotonic()
        self._alerted = {p: at for p, at in self._alerted.items() if now - at < ALERT_SECONDS}
        return self._alerted.setdefault(prefix, now) == now


def _draw(length: int) -> str:
    return f"{secrets.randbelow(10**length):0{length}}"


def _bound(otp_id: str, request: OtpRequest) -> Bound:
    return Bound(otp_id=otp_id, purpose=request.purpose, destination=request.destination)
