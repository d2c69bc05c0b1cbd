"""Amazon SES, API v2.

Requests: botocore's `sesv2` model, operation SendEmail. SES removes
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
from relaypost_server.providers._pricing import priced
from relaypost_server.providers._ses_settings import SesSettings
from relaypost_server.providers._sns_certificates import Fetcher, HttpFetcher
from relaypost_server.providers._sns_messages import SnsMessages
from relaypost_server.providers._threads import built
from relaypost_server.providers.ses_account import SesAccount
from relaypost_server.providers.ses_answers import classify
from relaypost_server.providers.ses_receipts import LARGEST_CALLBACK, events_of
from relaypost_server.providers.ses_request import fitted, request_body, unsupported


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
            fetcher=fetcher or HttpFetcher(settings),
        )
        self._aws = AwsClient(
            settings,
            url=f"{settings.base_url}/v2/email/outbound-emails",
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
