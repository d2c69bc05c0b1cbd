"""Twilio SendGrid, API v3.

Contract: github.com/twilio/sendgrid-oai, tsg_mail_v3. SendGrid removes no
duplicates: a message is submitted once, and a lost answer is `unconfirmed`.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
from python_http_client.exceptions import HTTPError
from sendgrid import SendGridAPIClient

from relaypost_server.core.delivery import DeliveryEvent
from relaypost_server.core.look_ups import Doubt
from relaypost_server.core.message import Channel, Email, Message
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.ports import Callback, CallbackRefusedError, Disbelief, Finding, Level
from relaypost_server.providers._adjusting import adjusted
from relaypost_server.providers._attempt_time import AttemptTime
from relaypost_server.providers._http import HttpClient, header_lines
from relaypost_server.providers._pricing import priced
from relaypost_server.providers._sendgrid_settings import SendGridSettings
from relaypost_server.providers._threads import built
from relaypost_server.providers.sendgrid_answers import ACCEPTS, classify
from relaypost_server.providers.sendgrid_look_up import PAUSE, find
from relaypost_server.providers.sendgrid_receipts import LARGEST_CALLBACK, check_head, read_batch
from relaypost_server.providers.sendgrid_request import fitted, request_body, unsupported

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
        problem = unsupported(message.content)
        if problem:
            return Outcome(kind=Kind.UNSUPPORTED, detail=problem)
        fitting, adjustments = fitted(message)
        attempt = AttemptTime(timeout)
        body = await built(
            fitting.content, lambda: orjson.dumps(request_body(fitting, sandbox=self._settings.sandbox)), attempt
        )
        if isinstance(body, Outcome):
            return body
        if len(body) > LARGEST_BODY:
            return Outcome(kind=Kind.UNSUPPORTED, detail="SendGrid takes at most 30 MB, attachments encoded")
        answer = await self._http.post(self._headers, body, attempt)
        outcome = answer if isinstance(answer, Outcome) else classify(answer, sandbox=self._settings.sandbox)
        return priced(adjusted(outcome, adjustments), self._settings.prices, len(message.content.recipients))

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
