"""Twilio SendGrid, API v3.

Contract: github.com/twilio/sendgrid-oai, tsg_mail_v3. SendGrid removes no
duplicates: a message is submitted once, and a lost answer is `unconfirmed`.
"""

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import orjson
from python_http_client.exceptions import HTTPError
from sendgrid import SendGridAPIClient

from relaypost_server.core.delivery import DeliveryEvent
from relaypost_server.core.look_ups import Doubt
from relaypost_server.core.message import Address, Attachment, Channel, Email, Message
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.ports import Callback, CallbackRefusedError, Disbelief, Finding, Level
from relaypost_server.providers._attempt_time import AttemptTime
from relaypost_server.providers._http import HttpClient, header_lines
from relaypost_server.providers._pricing import priced
from relaypost_server.providers._receipts import MESSAGE_ID
from relaypost_server.providers._sendgrid_settings import SendGridSettings
from relaypost_server.providers._threads import built
from relaypost_server.providers.sendgrid_answers import ACCEPTS, classify
from relaypost_server.providers.sendgrid_look_up import PAUSE, find
from relaypost_server.providers.sendgrid_receipts import LARGEST_CALLBACK, check_head, read_batch

LARGEST_BODY = 30 * 1024 * 1024
"""Bytes that SendGrid takes, attachments encoded."""


class SendGrid:
    """Sends email through SendGrid."""

    name = "sendgrid"
    channel = Channel.EMAIL

    largest_callback = LARGEST_CALLBACK
    by_our_id = True
    look_up_pause = PAUSE

    def __init__(self, settings: SendGridSettings) -> None:
        self._settings = settings
        self.reports = settings.webhook_key is not None
        self.looks_up = settings.look_ups
        self._http = HttpClient(f"{settings.base_url}/v3/mail/send", settings, accepts=ACCEPTS)
        key = settings.api_key.get_secret_value() if settings.api_key else ""
        self._headers = header_lines({"Authorization": f"Bearer {key}", "Content-Type": "application/json"})

    async def send(self, message: Message[Email], *, timeout: float) -> Outcome:
        if not message.content.to:
            return Outcome(kind=Kind.UNSUPPORTED, detail="SendGrid needs a recipient in `to`")
        attempt = AttemptTime(timeout)
        body = await built(
            message.content, lambda: orjson.dumps(request_body(message, sandbox=self._settings.sandbox)), attempt
        )
        if isinstance(body, Outcome):
            return body
        if len(body) > LARGEST_BODY:
            return Outcome(kind=Kind.UNSUPPORTED, detail="SendGrid takes at most 30 MB, attachments encoded")
        answer = await self._http.post(self._headers, body, attempt)
        outcome = answer if isinstance(answer, Outcome) else classify(answer, sandbox=self._settings.sandbox)
        return priced(outcome, self._settings.prices, len(message.content.recipients))

    def check_head(self, head: Callback) -> None:
        if self._settings.webhook_key is None:
            raise CallbackRefusedError(Disbelief.NOT_SET_UP)
        check_head(head, self._settings.webhook_window_seconds)

    async def read_callback(self, callback: Callback) -> Sequence[DeliveryEvent]:
        if not self._settings.webhook_key:
            raise CallbackRefusedError(Disbelief.NOT_SET_UP)
        return await read_batch(callback, self._settings.webhook_key, self._settings.webhook_window_seconds)

    async def look_up(self, doubt: Doubt) -> Sequence[DeliveryEvent]:
        return await asyncio.to_thread(
            lambda: find(_client(self._settings), doubt, self._settings.connect_timeout_seconds)
        )

    async def check(self) -> Sequence[Finding]:
        return [await asyncio.to_thread(_scopes, self._settings)]

    async def close(self) -> None:
        await self._http.close()


def request_body(message: Message[Email], *, sandbox: bool = False) -> dict[str, Any]:
    """The JSON of POST /v3/mail/send.

    Written by hand: the SDK's `Content` raises on a text that looks like an
    API key, and its `Email` parses every address again.
    """
    email = message.content
    recipients = {"to": email.to, "cc": email.cc, "bcc": email.bcc}
    body: dict[str, Any] = {
        "personalizations": [{k: [_mailbox(a) for a in v] for k, v in recipients.items() if v}],
        "from": _mailbox(email.sender),
        "subject": email.subject,
        "content": _content(email),
        "custom_args": {**email.tags, MESSAGE_ID: message.id},
    }
    if email.reply_to:
        body["reply_to_list"] = [_mailbox(a) for a in email.reply_to]
    if email.headers:
        body["headers"] = dict(email.headers)
    if email.attachments:
        body["attachments"] = [_attachment(a) for a in email.attachments]
    if sandbox:
        body["mail_settings"] = {"sandbox_mode": {"enable": True}}
    return body


def _content(email: Email) -> list[dict[str, str]]:
    """SendGrid wants the plain text before the html."""
    parts = {"text/plain": email.text, "text/html": email.html}
    return [{"type": media, "value": value} for media, value in parts.items() if value]


def _mailbox(address: Address) -> dict[str, str]:
    return {"email": address.email, "name": address.name} if address.name else {"email": address.email}


def _attachment(attachment: Attachment) -> dict[str, str]:
    found = {
        "content": b64encode(attachment.content).decode(),
        "filename": attachment.filename,
        "type": attachment.content_type,
        "disposition": "inline" if attachment.inline else "attachment",
    }
    return {**found, "content_id": attachment.content_id} if attachment.inline else found


def _client(settings: SendGridSettings) -> Any:
    """The SDK's client, for questions."""
    return SendGridAPIClient(settings.api_key.get_secret_value() if settings.api_key else "", settings.endpoint)


def _scopes(settings: SendGridSettings) -> Finding:
    """Asks for the key's scopes; blocking."""
    try:
        answer = _client(settings).client.scopes.get(timeout=settings.connect_timeout_seconds)
    except HTTPError as error:
        refused = error.status_code in (401, 403)
        return Finding(
            subject="credentials",
            level=Level.FAILURE if refused else Level.UNKNOWN,
            detail=f"SendGrid answered HTTP {error.status_code}",
            fix="Create an API key with the scope mail.send and set SENDGRID_API_KEY.",
        )
    except OSError as error:
        fix = "Check the network, and RELAYPOST_SENDGRID_ENDPOINT."
        return Finding(subject="credentials", level=Level.UNKNOWN, detail=type(error).__name__, fix=fix)
    if "mail.send" in orjson.loads(answer.body).get("scopes", []):
        return Finding(subject="credentials", level=Level.OK, detail="the key may send")
    return Finding(
        subject="credentials",
        level=Level.FAILURE,
        detail="the key lacks the scope mail.send",
        fix="Give the key the scope mail.send.",
    )
