"""Amazon SNS text messages.

Requests and errors: botocore's `sns` model, operation Publish with a
PhoneNumber. SNS removes no duplicates, and a 500 does not say that nothing was
sent, so it is `unconfirmed`.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import ClassVar
from urllib.parse import urlencode
from xml.etree import ElementTree

from pydantic import Field

from relaypost_server.core.message import Channel, Message, Sms, SmsType
from relaypost_server.core.money import MICROS, Money, PriceList
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.ports import Finding
from relaypost_server.core.price_ports import Unpriced
from relaypost_server.providers._attempt_time import AttemptTime
from relaypost_server.providers._aws import AwsClient
from relaypost_server.providers._connection import Answer
from relaypost_server.providers._http import lost_answer, retry_after
from relaypost_server.providers._pricing import SmsQuote, with_price_later
from relaypost_server.providers._settings import PaidProviderSettings
from relaypost_server.providers.sns_account import SnsAccount
from relaypost_server.providers.sns_prices import SnsPrices
from relaypost_server.settings import Endpoint, Prices, PricesAMinute, prefixed

PRICES = PriceList(
    as_of=date(2026, 7, 1),
    by_country={"US": Money(micros=6_450), "CA": Money(micros=6_450), "JP": Money(micros=74_510)},
)
"""USD for each segment."""
_VERSION = "2010-03-31"
_TYPES = {SmsType.TRANSACTIONAL: "Transactional", SmsType.PROMOTIONAL: "Promotional"}


class SnsSettings(PaidProviderSettings):
    """Amazon SNS takes part where AWS_REGION is set. Credentials come from botocore's chain."""

    model_config = prefixed("sns")
    title: ClassVar = "Amazon SNS"

    priority: int = Field(1, ge=1, le=1000, description="its place in the SMS chain, from 1 (asked first) to 1000")
    rate: float = Field(
        20.0,
        ge=0,
        le=100_000,
        description="messages of the queue that workers send a second, as SNS allows; 0: as many as they can",
    )
    region: str | None = Field(None, alias="AWS_REGION", description="the AWS region, for example us-east-1")
    endpoint: Endpoint | None = Field(
        None, description="the URL of a private endpoint; default: the region's public one"
    )
    cloudwatch_endpoint: Endpoint | None = Field(
        None, description="the URL of a private CloudWatch, which knows the month's spend; default: the public one"
    )
    origination_number: str | None = Field(
        None, description="the E.164 number or short code to send from; default: SNS chooses"
    )
    opt_outs_seconds: float = Field(
        3600.0,
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        description="between two looks at SNS's own list of opt-outs, in seconds; 0: it is left alone",
    )
    delivery_log_group: str | None = Field(
        None,
        pattern="^[A-Za-z0-9_./#-]{1,500}$",
        description="the CloudWatch Logs group of delivery status, where prices are, as in "
        "sns/us-east-1/123456789012/DirectPublishToPhoneNumber; default: estimates are kept to",
    )
    logs_endpoint: Endpoint | None = Field(
        None, description="the URL of a private CloudWatch Logs; default: the region's public one"
    )
    prices_a_minute: PricesAMinute = Field(
        200, description="how many messages are looked for there, in a minute; 0 for none"
    )
    prices: Prices = Field(
        PRICES,
        description='USD for each segment, as in {"as_of": "2026-07-01", "default": "0.05", "US": "0.00645"}',
    )

    @property
    def configured(self) -> bool:
        return self.region is not None


class Sns:
    """Sends text messages through SNS."""

    name = "sns"
    channel = Channel.SMS
    Settings: ClassVar = SnsSettings

    def __init__(self, settings: SnsSettings) -> None:
        self._settings = settings
        self.opt_outs_every = settings.opt_outs_seconds
        self._aws = AwsClient(
            settings,
            url=settings.endpoint or f"https://sns.{settings.region}.amazonaws.com",
            region=settings.region or "",
            service="sns",
            content_type="application/x-www-form-urlencoded; charset=utf-8",
            classify=classify,
        )
        self.prices_a_minute = settings.prices_a_minute if settings.delivery_log_group else 0
        self._prices = SnsPrices(
            group=settings.delivery_log_group or "",
            region=settings.region or "",
            endpoint=settings.logs_endpoint,
            timeout=settings.connect_timeout_seconds,
        )
        self.account = SnsAccount(
            region=settings.region or "",
            endpoint=settings.endpoint,
            metrics_endpoint=settings.cloudwatch_endpoint,
            timeout=settings.connect_timeout_seconds,
        )

    async def send(self, message: Message[Sms], *, timeout: float) -> Outcome:
        quote = SmsQuote(message.content, self._settings.prices)
        refusal = quote.refusal(message.content.max_price)
        if refusal is not None:
            return refusal
        body = request_body(message.content, self._settings.origination_number)
        outcome = quote.on(await self._aws.submit(body, AttemptTime(timeout)))
        return with_price_later(outcome) if self.prices_a_minute else outcome

    async def prices(self, sent: Sequence[Unpriced]) -> Mapping[str, Money]:
        return await self._prices.prices(sent)

    async def check(self) -> Sequence[Finding]:
        return await asyncio.to_thread(self.account.look_around)

    async def opted_out(self) -> Collection[str]:
        return await asyncio.to_thread(self.account.opted_out)

    async def close(self) -> None:
        await self._aws.close()


def request_body(sms: Sms, origination_number: str | None) -> bytes:
    """The form of Publish."""
    attributes = {
        "AWS.SNS.SMS.SMSType": ("String", _TYPES[sms.type]),
        "AWS.SNS.SMS.SenderID": ("String", sms.sender_id),
        "AWS.SNS.SMS.MaxPrice": ("Number", _decimal(sms.max_price)),
        "AWS.MM.SMS.OriginationNumber": ("String", origination_number or ""),
    }
    form = {"Action": "Publish", "Version": _VERSION, "PhoneNumber": sms.to, "Message": sms.text}
    given = ((name, kind, value) for name, (kind, value) in attributes.items() if value)
    for number, (name, kind, value) in enumerate(given, start=1):
        entry = f"MessageAttributes.entry.{number}"
        form |= {f"{entry}.Name": name, f"{entry}.Value.DataType": kind, f"{entry}.Value.StringValue": value}
    return urlencode(form).encode()


def _decimal(price: Money | None) -> str:
    return "" if price is None else f"{price.micros // MICROS}.{price.micros % MICROS:06d}"


_KINDS = {
    "Throttled": Kind.THROTTLED,
    "ThrottledException": Kind.THROTTLED,
    "Throttling": Kind.THROTTLED,
    "ThrottlingException": Kind.THROTTLED,
    "KMSThrottling": Kind.THROTTLED,
    "KMSThrottlingException": Kind.THROTTLED,
    "InvalidParameter": Kind.REJECTED,
    "InvalidParameterValue": Kind.REJECTED,
    "ParameterValueInvalid": Kind.REJECTED,
    "ValidationException": Kind.REJECTED,
    "ValidationError": Kind.REJECTED,
    "AuthorizationError": Kind.UNAUTHORIZED,
    "InvalidSecurity": Kind.UNAUTHORIZED,
    "OptInRequired": Kind.UNAUTHORIZED,
}
_OUR_FAULT = (Kind.UNAUTHORIZED, Kind.UNSUPPORTED)


def classify(answer: Answer) -> Outcome:
    """What an HTTP answer of SNS means."""
    fields = _fields(answer.body)
    if answer.ok:
        if "MessageId" not in fields:
            return lost_answer(answer)
        return Outcome(kind=Kind.ACCEPTED, provider_message_id=fields["MessageId"])
    code, text = fields.get("Code", ""), fields.get("Message", "")
    kind = _kind(answer.status, code)
    return Outcome(
        kind=kind,
        detail=f"HTTP {answer.status}",
        provider_text=text,
        provider_code=code,
        retry_after=retry_after(answer) if kind is Kind.THROTTLED else None,
        alert=kind in _OUR_FAULT,
    )


def _kind(status: int, code: str) -> Kind:
    if code in _KINDS:
        return _KINDS[code]
    if status >= 500:
        return Kind.FAULTED if status == 503 and code else Kind.UNCONFIRMED
    if status == 429:
        return Kind.THROTTLED
    if status in (401, 403) or code.startswith("KMS"):
        return Kind.UNAUTHORIZED
    return Kind.UNSUPPORTED


def _fields(body: bytes) -> dict[str, str]:
    """The texts of an answer's leaf elements by their names without namespace."""
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError):
        return {}
    return {e.tag.rpartition("}")[2]: e.text.strip() for e in root.iter() if e.text and e.text.strip()}
