"""Twilio Programmable Messaging.

Contract: github.com/twilio/twilio-oai, api_v2010. Error codes:
twilio.com/docs/api/errors. Twilio removes no duplicates, and its page on 20500
says that a repeated request may send twice: a lost answer is `unconfirmed`.
"""

import asyncio
from base64 import b64encode
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from relaypost_server.core.adjustments import Adjustment, AdjustmentKind
from relaypost_server.core.delivery import DeliveryEvent
from relaypost_server.core.look_ups import Doubt
from relaypost_server.core.message import Channel, Message, Sms
from relaypost_server.core.money import Money
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.ports import Callback, CallbackRefusedError, Disbelief, Finding
from relaypost_server.core.price_ports import Unpriced
from relaypost_server.core.senders import SmsSender, is_sender_number, sender_of
from relaypost_server.core.suppression import Reply
from relaypost_server.providers._adjusting import adjusted
from relaypost_server.providers._attempt_time import AttemptTime
from relaypost_server.providers._http import HttpClient, header_lines
from relaypost_server.providers._pricing import SmsQuote, with_price_later
from relaypost_server.providers._refused_names import RefusedNames
from relaypost_server.providers._twilio_settings import TwilioSettings
from relaypost_server.providers.twilio_account import client, look_around
from relaypost_server.providers.twilio_answers import classify
from relaypost_server.providers.twilio_look_up import find
from relaypost_server.providers.twilio_prices import TwilioPrices
from relaypost_server.providers.twilio_receipts import (
    LARGEST_CALLBACK,
    callback_url,
    check_head,
    is_reply,
    read_form,
    read_reply,
)

LONGEST_VALIDITY = 36_000
"""Seconds that Twilio takes for a ValidityPeriod."""
_NAME_REFUSED_BY_COUNTRY = frozenset({"21212", "21657"})
"""No valid sender; no alphanumeric sender for this country."""
_NAME_REFUSED = _NAME_REFUSED_BY_COUNTRY | {"21612"}
"""21612: this sender does not reach this number, which says nothing about others of the country."""
_FROM_NUMBER = SmsSender(
    adjustments=(
        Adjustment(
            field="sms.sender_id",
            kind=AdjustmentKind.REPLACED,
            description="Twilio takes no such name for the recipient: sent from the account's number",
        ),
    )
)


class Twilio:
    """Sends text messages through Twilio."""

    name = "twilio"
    channel = Channel.SMS

    largest_callback = LARGEST_CALLBACK
    by_our_id = False
    look_up_pause = 1.0

    def __init__(self, settings: TwilioSettings) -> None:
        self._settings = settings
        self.reports = settings.receipts_url is not None
        self.looks_up = settings.look_ups
        url = f"{settings.base_url}/2010-04-01/Accounts/{settings.account_sid}/Messages.json"
        self._http = HttpClient(url, settings)
        basic = b64encode(":".join(settings.credentials).encode()).decode()
        self.prices_a_minute = settings.prices_a_minute
        self._prices = TwilioPrices(lambda: client(settings))
        self._refused_names = RefusedNames()
        self._headers = header_lines(
            {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
        )

    async def send(self, message: Message[Sms], *, timeout: float) -> Outcome:
        quote = SmsQuote(message.content, self._settings.prices)
        refusal = quote.refusal(message.content.max_price)
        if refusal is not None:
            return refusal
        outcome = quote.on(await self._submit(message, AttemptTime(timeout)))
        return with_price_later(outcome) if self.prices_a_minute else outcome

    async def _submit(self, message: Message[Sms], attempt: AttemptTime) -> Outcome:
        """Posts once; a second time, from the account's number, only where the sender's name was refused."""
        country = message.content.country
        sender = sender_of(message.content, self._settings.senders)
        if sender.name and (country, sender.name) in self._refused_names:
            return await self._post(message, _FROM_NUMBER, attempt)
        outcome = await self._post(message, sender, attempt)
        if not sender.name or not refuses_name(outcome):
            return outcome
        if attempt.left_to_write <= 0:
            return outcome
        again = await self._post(message, _FROM_NUMBER, attempt)
        by_country = bool(country) and outcome.provider_code in _NAME_REFUSED_BY_COUNTRY
        if by_country and not refuses_name(again):  # Else it is about the recipient's number, whoever writes to it.
            self._refused_names.remember(country, sender.name)
        return again

    async def _post(self, message: Message[Sms], sender: SmsSender, attempt: AttemptTime) -> Outcome:
        body = urlencode(request_form(message, sender, self._settings)).encode()
        answer = await self._http.post(self._headers, body, attempt)
        outcome = answer if isinstance(answer, Outcome) else classify(answer)
        return adjusted(outcome, sender.adjustments)

    async def prices(self, sent: Sequence[Unpriced]) -> Mapping[str, Money]:
        return await self._prices.prices(sent)

    def check_head(self, head: Callback) -> None:
        if self._settings.public_url is None or self._settings.auth_token is None:
            raise CallbackRefusedError(Disbelief.NOT_SET_UP)
        check_head(head)

    async def read_callback(self, callback: Callback) -> Sequence[DeliveryEvent]:
        public_url, token = self._settings.public_url, self._settings.auth_token
        if public_url is None or token is None:
            raise CallbackRefusedError(Disbelief.NOT_SET_UP)
        return read_form(callback, public_url, token.get_secret_value())

    def is_reply(self, head: Callback) -> bool:
        return is_reply(head)

    async def read_reply(self, callback: Callback) -> Reply | None:
        public_url, token = self._settings.public_url, self._settings.auth_token
        if public_url is None or token is None:
            raise CallbackRefusedError(Disbelief.NOT_SET_UP)
        return read_reply(callback, public_url, token.get_secret_value())

    async def look_up(self, doubt: Doubt) -> Sequence[DeliveryEvent]:
        return await asyncio.to_thread(lambda: find(client(self._settings), doubt, _senders(self._settings, doubt)))

    async def check(self) -> Sequence[Finding]:
        return await asyncio.to_thread(look_around, self._settings)

    async def close(self) -> None:
        await self._http.close()


def request_form(message: Message[Sms], sender: SmsSender, settings: TwilioSettings) -> dict[str, str]:
    """The form of POST Messages.json."""
    sms = message.content
    form = {"To": sms.to, "Body": sms.text}
    if settings.receipts_url:
        form["StatusCallback"] = callback_url(settings.receipts_url, message.id)
    if sms.validity is not None:
        form["ValidityPeriod"] = str(min(max(int(sms.validity), 1), LONGEST_VALIDITY))
    if sender.name or sender.number:
        return form | {"From": sender.name or sender.number}
    if settings.messaging_service_sid:
        return form | {"MessagingServiceSid": settings.messaging_service_sid}
    return form | {"From": settings.phone_number or ""}


def refuses_name(outcome: Outcome) -> bool:
    """Whether Twilio took nothing because of the name that the message was to come from."""
    return outcome.provider_code in _NAME_REFUSED and outcome.kind not in (Kind.ACCEPTED, Kind.UNCONFIRMED)


def _senders(settings: TwilioSettings, doubt: Doubt) -> Sequence[str]:
    """Who may have sent the message, if it was sent: see `request_form`."""
    if is_sender_number(doubt.sender):
        return [doubt.sender]
    account = settings.messaging_service_sid or settings.phone_number or ""
    return [sender for sender in (account, doubt.sender, *settings.senders.values()) if sender]
