"""Amazon SES, API v2.

Requests and errors: botocore's `sesv2` model, operation SendEmail. SES removes
no duplicates: a message is submitted once, and a lost answer is `unconfirmed`.
"""

import asyncio
from collections.abc import Sequence

import orjson

from relaypost_server.core.delivery import DeliveryEvent
from relaypost_server.core.message import Channel, Email, Message
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.ports import Callback, CallbackRefusedError, Disbelief, Finding
from relaypost_server.providers._adjusting import adjusted
from relaypost_server.providers._attempt_time import AttemptTime
from relaypost_server.providers._aws import AwsClient
from relaypost_server.providers._connection import Answer
from relaypost_server.providers._http import explained, lost_answer, retry_after
from relaypost_server.providers._pricing import priced
from relaypost_server.providers._ses_settings import SesSettings
from relaypost_server.providers._sns_certificates import Fetcher, HttpFetcher
from relaypost_server.providers._sns_messages import SnsMessages
from relaypost_server.providers._threads import built
from relaypost_server.providers.ses_account import SesAccount
from relaypost_server.providers.ses_receipts import LARGEST_CALLBACK, events_of
from relaypost_server.providers.ses_request import fitted, request_body, unsupported

QUOTA_LATCH = 3600.0
"""Seconds. The daily quota is a rolling 24 hours: some of it is back within the hour."""


class Ses:
    """Sends email through SES."""

    name = "ses"
    channel = Channel.EMAIL

    largest_callback = LARGEST_CALLBACK

    def __init__(self, settings: SesSettings, fetcher: Fetcher | None = None) -> None:
        self._settings = settings
        self.reports = settings.topic_arn is not None
        self._topic = settings.topic_arn and SnsMessages(
            settings.topic_arn,
            endpoint=settings.topic_endpoint,
            window=settings.topic_window_seconds,
            fetcher=fetcher or HttpFetcher(),
        )
        base = settings.endpoint or f"https://email.{settings.region}.amazonaws.com"
        self._aws = AwsClient(
            settings,
            url=f"{base}/v2/email/outbound-emails",
            region=settings.region or "",
            service="ses",
            content_type="application/json",
            classify=classify,
        )
        self.account = SesAccount(
            region=settings.region or "", endpoint=settings.endpoint, timeout=settings.connect_timeout_seconds
        )

    async def send(self, message: Message[Email], *, timeout: float) -> Outcome:
        problem = unsupported(message.content)
        if problem:
            return Outcome(kind=Kind.UNSUPPORTED, detail=problem)
        fitting, adjustments = fitted(message)
        attempt = AttemptTime(timeout)
        body = await built(
            fitting.content, lambda: orjson.dumps(request_body(fitting, self._settings.configuration_set)), attempt
        )
        if isinstance(body, Outcome):
            return body
        outcome = adjusted(await self._aws.submit(body, attempt), adjustments)
        return priced(outcome, self._settings.prices, len(message.content.recipients))

    def check_head(self, head: Callback) -> None:
        if not self._topic:
            raise CallbackRefusedError(Disbelief.NOT_SET_UP)
        self._topic.check_head(head)

    async def read_callback(self, callback: Callback) -> Sequence[DeliveryEvent]:
        if not self._topic:
            raise CallbackRefusedError(Disbelief.NOT_SET_UP)
        notification = await self._topic.read(callback)
        return events_of(notification) if notification else []

    async def check(self) -> Sequence[Finding]:
        return await asyncio.to_thread(self.account.look_around, self._settings.sender)

    async def close(self) -> None:
        await self._aws.close()


_KINDS = {
    "TooManyRequestsException": Kind.THROTTLED,
    "LimitExceededException": Kind.THROTTLED,
    "Throttling": Kind.THROTTLED,
    "ThrottlingException": Kind.THROTTLED,
    "AccountSuspendedException": Kind.UNAUTHORIZED,
    "SendingPausedException": Kind.UNAUTHORIZED,
    "OptInRequired": Kind.UNAUTHORIZED,
    "MailFromDomainNotVerifiedException": Kind.UNSUPPORTED,
    "NotFoundException": Kind.UNSUPPORTED,
    "MessageRejected": Kind.REJECTED,
    "BadRequestException": Kind.REJECTED,
    "ValidationException": Kind.REJECTED,
}
_OUR_FAULT = (Kind.UNAUTHORIZED, Kind.UNSUPPORTED)
_KNOWN = {
    "Daily message quota exceeded": "the daily quota is used up",
    "not verified": "an identity is not verified",
}
"""What we say for words of SES that tell more than its code."""


def classify(answer: Answer) -> Outcome:
    """What an HTTP answer of SES means."""
    body = answer.json()
    if answer.ok:
        message_id = body.get("MessageId")
        if not isinstance(message_id, str):
            return lost_answer(answer)
        return Outcome(kind=Kind.ACCEPTED, provider_message_id=message_id)
    code = str(answer.headers.get("x-amzn-errortype") or body.get("__type") or body.get("code") or "")
    code = code.split(":", maxsplit=1)[0].rpartition("#")[2]
    text = str(body.get("message") or body.get("Message") or "")
    kind = _kind(answer.status, code, text)
    return Outcome(
        kind=kind,
        detail=explained(answer.status, text, _KNOWN),
        provider_text=text,
        provider_code=code,
        retry_after=_wait(answer, text) if kind is Kind.THROTTLED else None,
        alert=kind in _OUR_FAULT,
    )


def _kind(status: int, code: str, text: str) -> Kind:
    if status >= 500:
        # With an AWS error body SES itself says that it failed; anything else
        # may come from a proxy behind which SES took the message.
        return Kind.FAULTED if code and status in (500, 503) else Kind.UNCONFIRMED
    if code == "MessageRejected" and "not verified" in text:
        return Kind.UNSUPPORTED
    if code in _KINDS:
        return _KINDS[code]
    if status == 429:
        return Kind.THROTTLED
    if status in (401, 403):
        return Kind.UNAUTHORIZED
    if status == 413:
        return Kind.REJECTED
    return Kind.UNSUPPORTED


def _wait(answer: Answer, text: str) -> float | None:
    return QUOTA_LATCH if "Daily message quota exceeded" in text else retry_after(answer)
