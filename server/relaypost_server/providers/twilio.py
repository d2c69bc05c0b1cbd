"""Twilio Programmable Messaging.

Contract: github.com/twilio/twilio-oai, api_v2010. Error codes:
twilio.com/docs/api/errors. Twilio removes no duplicates, and its page on 20500
says that a repeated request may send twice: a lost answer is `unconfirmed`.
"""

import asyncio
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, ClassVar
from urllib.parse import urlencode

from pydantic import Field

from relaypost_server.core.delivery import DeliveryEvent
from relaypost_server.core.look_ups import Doubt
from relaypost_server.core.message import Channel, Message, Sms
from relaypost_server.core.money import Money, PriceList
from relaypost_server.core.outcome import Outcome
from relaypost_server.core.ports import Callback, CallbackRefusedError, Disbelief, Finding, Level
from relaypost_server.core.price_ports import Unpriced
from relaypost_server.core.suppression import Reply
from relaypost_server.providers._attempt_time import AttemptTime
from relaypost_server.providers._http import HttpClient, header_lines
from relaypost_server.providers._pricing import SmsQuote, with_price_later
from relaypost_server.providers._settings import PaidProviderSettings, missing
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
from relaypost_server.settings import Endpoint, Prices, PricesAMinute, Problem, Secret, prefixed

PRICES = PriceList(as_of=date(2026, 7, 1), by_country={"US": Money(micros=11_800)})
"""USD for each segment: 0.0083 and a carrier's fee of about 0.0035."""

LONGEST_VALIDITY = 36_000
"""Seconds that Twilio takes for a ValidityPeriod."""


class TwilioSettings(PaidProviderSettings):
    """Twilio takes part where an account, its token and a number or Messaging Service are set."""

    model_config = prefixed("twilio")
    title: ClassVar = "Twilio"

    priority: int = Field(2, ge=1, le=1000, description="its place in the SMS chain, from 1 (asked first) to 1000")
    rate: float = Field(
        1.0,
        ge=0,
        le=100_000,
        description="messages of the queue that workers send a second, as a long code can; 0: as many as they can",
    )
    account_sid: str | None = Field(
        None, alias="TWILIO_ACCOUNT_SID", pattern="^AC[0-9a-f]{32}$", description="the account's SID: AC and 32 digits"
    )
    auth_token: Secret | None = Field(None, alias="TWILIO_AUTH_TOKEN", description="the account's auth token")
    phone_number: str | None = Field(
        None,
        alias="TWILIO_PHONE_NUMBER",
        pattern=r"^\+[1-9]\d{6,14}$",
        description="the number to send from, in E.164, for example +14155550100",
    )
    messaging_service_sid: str | None = Field(
        None, pattern="^MG[0-9a-f]{32}$", description="a Messaging Service to send from, instead of a number"
    )
    endpoint: Endpoint = Field("https://api.twilio.com", description="the URL of the API")
    public_url: Endpoint | None = Field(
        None,
        alias="RELAYPOST_PUBLIC_URL",
        description="the URL under which providers reach this gateway's HTTP side, as in https://post.example.com; "
        "default: Twilio is asked for no receipts",
    )
    look_ups: bool = Field(
        True,
        description="false where other programs with this account text the same people: else Twilio is asked what "
        "became of messages that may have been sent",
    )
    prices_a_minute: PricesAMinute = Field(
        60, description="how many messages Twilio is asked the price of, in a minute; 0 to keep to estimates"
    )
    prices: Prices = Field(
        PRICES,
        description='USD for each segment, as in {"as_of": "2026-07-01", "default": "0.05", "US": "0.0118"}',
    )

    @property
    def configured(self) -> bool:
        sender = self.phone_number or self.messaging_service_sid
        return self.account_sid is not None and self.auth_token is not None and sender is not None

    def problems(self) -> list[Problem]:
        given = {
            "TWILIO_ACCOUNT_SID": self.account_sid,
            "TWILIO_AUTH_TOKEN": self.auth_token,
            "TWILIO_PHONE_NUMBER": self.phone_number or self.messaging_service_sid,
        }
        there = [name for name, value in given.items() if value]
        lacking = [missing(name, f"{there[0]} is set") for name, value in given.items() if there and not value]
        return super().problems() + lacking


class Twilio:
    """Sends text messages through Twilio."""

    name = "twilio"
    channel = Channel.SMS
    Settings: ClassVar = TwilioSettings

    largest_callback = LARGEST_CALLBACK
    by_our_id = False
    look_up_pause = 1.0

    def __init__(self, settings: TwilioSettings) -> None:
        self._settings = settings
        self.reports = settings.public_url is not None
        self.looks_up = settings.look_ups
        url = f"{settings.endpoint}/2010-04-01/Accounts/{settings.account_sid}/Messages.json"
        self._http = HttpClient(url, settings)
        token = settings.auth_token.get_secret_value() if settings.auth_token else ""
        basic = b64encode(f"{settings.account_sid}:{token}".encode()).decode()
        self.prices_a_minute = settings.prices_a_minute
        self._prices = TwilioPrices(
            account_sid=settings.account_sid or "",
            token=token,
            endpoint=settings.endpoint,
            timeout=settings.connect_timeout_seconds,
        )
        self._headers = header_lines(
            {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
        )

    async def send(self, message: Message[Sms], *, timeout: float) -> Outcome:
        quote = SmsQuote(message.content, self._settings.prices)
        refusal = quote.refusal(message.content.max_price)
        if refusal is not None:
            return refusal
        body = urlencode(request_form(message, self._settings)).encode()
        answer = await self._http.post(self._headers, body, AttemptTime(timeout))
        outcome = quote.on(answer if isinstance(answer, Outcome) else classify(answer))
        return with_price_later(outcome) if self.prices_a_minute else outcome

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
        return await asyncio.to_thread(lambda: find(_client(self._settings), doubt, _senders(self._settings, doubt)))

    async def check(self) -> Sequence[Finding]:
        return [await asyncio.to_thread(_account, self._settings)]

    async def close(self) -> None:
        await self._http.close()


def request_form(message: Message[Sms], settings: TwilioSettings) -> dict[str, str]:
    """The form of POST Messages.json.

    A sender id goes to countries that show one; North America (+1) does not,
    and Twilio refuses the message there.
    """
    sms = message.content
    form = {"To": sms.to, "Body": sms.text}
    if settings.public_url:
        form["StatusCallback"] = callback_url(settings.public_url, message.id)
    if sms.validity is not None:
        form["ValidityPeriod"] = str(min(max(int(sms.validity), 1), LONGEST_VALIDITY))
    if sms.sender_id and not sms.to.startswith("+1"):
        return form | {"From": sms.sender_id}
    if settings.messaging_service_sid:
        return form | {"MessagingServiceSid": settings.messaging_service_sid}
    return form | {"From": settings.phone_number or ""}


def _senders(settings: TwilioSettings, doubt: Doubt) -> Sequence[str]:
    """Who sent the message, if it was sent: see `request_form`."""
    if doubt.sender and not doubt.recipient.startswith("+1"):
        return [doubt.sender]
    return [settings.messaging_service_sid or settings.phone_number or ""]


def _client(settings: TwilioSettings) -> Any:
    """The SDK's client, for questions; blocking."""
    # Imported here: the SDK takes a second to load, and only checks and look-ups use it.
    from twilio.http.http_client import TwilioHttpClient
    from twilio.rest import Client

    token = settings.auth_token
    http = TwilioHttpClient(timeout=settings.connect_timeout_seconds, max_retries=0)
    client = Client(settings.account_sid or "", token.get_secret_value() if token else "", http_client=http)
    client.api.base_url = settings.endpoint
    return client


def _account(settings: TwilioSettings) -> Finding:
    """Asks for the account; blocking."""
    from requests.exceptions import RequestException
    from twilio.base.exceptions import TwilioException

    try:
        account = _client(settings).api.v2010.accounts(settings.account_sid or "")
        return _judge(account.fetch(), account.balance.fetch())
    except TwilioException as error:
        status = getattr(error, "status", None)
        fix = "Check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN."
        level = Level.FAILURE if status in (401, 403, 404) else Level.UNKNOWN
        return Finding(subject="account", level=level, detail=f"Twilio answered HTTP {status}", fix=fix)
    except RequestException as error:
        fix = "Check the network, and RELAYPOST_TWILIO_ENDPOINT."
        return Finding(subject="account", level=Level.UNKNOWN, detail=type(error).__name__, fix=fix)


def _judge(account: Any, balance: Any) -> Finding:
    money = f"balance {balance.balance} {balance.currency}"
    if account.status != "active":
        return Finding(
            subject="account", level=Level.FAILURE, detail=f"{account.status}, {money}", fix="See the Twilio console."
        )
    if account.type == "Trial":
        fix = "Upgrade the account in the Twilio console."
        return Finding(
            subject="account", level=Level.WARNING, detail=f"a trial: verified numbers only, {money}", fix=fix
        )
    return Finding(subject="account", level=Level.OK, detail=money)
