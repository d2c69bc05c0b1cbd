"""Amazon SES, API v2.

Requests: botocore's `sesv2` model, operation SendEmail. SES removes
no duplicates: a message is submitted once, and a lost answer is `unconfirmed`.
"""

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import orjson

from relaypost_server.core.delivery import DeliveryEvent
from relaypost_server.core.message import Attachment, Channel, Email, Message
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.ports import Callback, CallbackRefusedError, Disbelief, Finding
from relaypost_server.providers._attempt_time import AttemptTime
from relaypost_server.providers._aws import AwsClient
from relaypost_server.providers._mailbox import mailbox
from relaypost_server.providers._pricing import priced
from relaypost_server.providers._receipts import MESSAGE_ID
from relaypost_server.providers._ses_settings import SesSettings
from relaypost_server.providers._sns_certificates import Fetcher, HttpFetcher
from relaypost_server.providers._sns_messages import SnsMessages
from relaypost_server.providers._threads import built
from relaypost_server.providers.ses_account import SesAccount
from relaypost_server.providers.ses_answers import classify
from relaypost_server.providers.ses_receipts import LARGEST_CALLBACK, events_of

LONGEST_CONTENT_ID = 78


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
        attempt = AttemptTime(timeout)
        body = await built(
            message.content, lambda: orjson.dumps(request_body(message, self._settings.configuration_set)), attempt
        )
        if isinstance(body, Outcome):
            return body
        outcome = await self._aws.submit(body, attempt)
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


def unsupported(email: Email) -> str:
    """What SES cannot carry of a valid email; "" where it can carry all."""
    if email.attachments and any(len(a.content_id) > LONGEST_CONTENT_ID for a in email.attachments):
        return f"SES takes content ids of at most {LONGEST_CONTENT_ID} characters"
    return ""


def request_body(message: Message[Email], configuration_set: str | None) -> dict[str, Any]:
    """The JSON of SendEmail."""
    email = message.content
    tags = {**email.tags, MESSAGE_ID: message.id}
    body: dict[str, Any] = {
        "FromEmailAddress": mailbox(email.sender),
        "Destination": {
            "ToAddresses": [mailbox(a) for a in email.to],
            "CcAddresses": [mailbox(a) for a in email.cc],
            "BccAddresses": [mailbox(a) for a in email.bcc],
        },
        "Content": {"Simple": _simple(email)},
        "EmailTags": [{"Name": name, "Value": value} for name, value in tags.items()],
    }
    if email.reply_to:
        body["ReplyToAddresses"] = [mailbox(a) for a in email.reply_to]
    if configuration_set:
        body["ConfigurationSetName"] = configuration_set
    return body


def _simple(email: Email) -> dict[str, Any]:
    parts = {"Text": email.text, "Html": email.html}
    simple: dict[str, Any] = {
        "Subject": _utf8(email.subject),
        "Body": {name: _utf8(part) for name, part in parts.items() if part},
    }
    if email.headers:
        simple["Headers"] = [{"Name": name, "Value": value} for name, value in email.headers.items()]
    if email.attachments:
        simple["Attachments"] = [_attachment(a) for a in email.attachments]
    return simple


def _utf8(text: str) -> dict[str, str]:
    return {"Data": text, "Charset": "UTF-8"}


def _attachment(attachment: Attachment) -> dict[str, str]:
    found = {
        "FileName": attachment.filename,
        "ContentType": attachment.content_type,
        "ContentDisposition": "INLINE" if attachment.inline else "ATTACHMENT",
        "ContentTransferEncoding": "BASE64",
        "RawContent": b64encode(attachment.content).decode(),
    }
    return {**found, "ContentId": attachment.content_id} if attachment.inline else found
