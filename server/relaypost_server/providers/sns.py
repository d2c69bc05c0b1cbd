"""Amazon SNS text messages.

Requests: botocore's `sns` model, operation Publish with a PhoneNumber. SNS
removes no duplicates.
"""

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import urlencode

from relaypost_server.core.message import Channel, Message, Sms, SmsType
from relaypost_server.core.money import MICROS, Money
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.ports import Finding
from relaypost_server.core.price_ports import Unpriced
from relaypost_server.core.senders import SmsSender, sender_of
from relaypost_server.providers._adjusting import adjusted
from relaypost_server.providers._attempt_time import AttemptTime
from relaypost_server.providers._aws import AwsClient
from relaypost_server.providers._pricing import SmsQuote, with_price_later
from relaypost_server.providers._sns_settings import SnsSettings
from relaypost_server.providers.sns_account import SnsAccount
from relaypost_server.providers.sns_answers import classify
from relaypost_server.providers.sns_prices import SnsPrices

_VERSION = "2010-03-31"
_NAME = re.compile(r"[A-Za-z0-9-]{1,11}")
"""What SNS takes for a sender id."""
_NO_SUCH_NAME = Outcome(kind=Kind.UNSUPPORTED, detail="SNS takes letters of ASCII, digits and hyphens in a sender id")
_TYPES = {SmsType.TRANSACTIONAL: "Transactional", SmsType.PROMOTIONAL: "Promotional"}


class Sns:
    """Sends text messages through SNS."""

    name = "sns"
    channel = Channel.SMS

    def __init__(self, settings: SnsSettings) -> None:
        self._settings = settings
        self.opt_outs_every = settings.opt_outs_seconds
        self._aws = AwsClient(
            settings,
            url=settings.base_url,
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
        sender = sender_of(message.content, self._settings.senders)
        if sender.name and not _NAME.fullmatch(sender.name):
            return _NO_SUCH_NAME
        body = request_body(message.content, sender, self._settings.origination_number)
        outcome = quote.on(adjusted(await self._aws.submit(body, AttemptTime(timeout)), sender.adjustments))
        return with_price_later(outcome) if self.prices_a_minute else outcome

    async def prices(self, sent: Sequence[Unpriced]) -> Mapping[str, Money]:
        return await self._prices.prices(sent)

    async def check(self) -> Sequence[Finding]:
        return await asyncio.to_thread(self.account.look_around)

    async def opted_out(self) -> Collection[str]:
        return await asyncio.to_thread(self.account.opted_out)

    async def close(self) -> None:
        await self._aws.close()


def request_body(sms: Sms, sender: SmsSender, origination_number: str | None) -> bytes:
    """The form of Publish. Of a sender id and a number, SNS takes the number: it gets the one that is meant."""
    origin = "" if sender.name else sender.number or origination_number or ""
    dlt = sms.india_dlt if sms.country == "IN" else None
    attributes = {
        "AWS.SNS.SMS.SMSType": ("String", _TYPES[sms.type]),
        "AWS.SNS.SMS.SenderID": ("String", sender.name),
        "AWS.SNS.SMS.MaxPrice": ("Number", _decimal(sms.max_price)),
        "AWS.MM.SMS.OriginationNumber": ("String", origin),
        "AWS.MM.SMS.EntityId": ("String", dlt.entity_id if dlt else ""),
        "AWS.MM.SMS.TemplateId": ("String", dlt.template_id if dlt else ""),
    }
    form = {"Action": "Publish", "Version": _VERSION, "PhoneNumber": sms.to, "Message": sms.text}
    given = ((name, kind, value) for name, (kind, value) in attributes.items() if value)
    for number, (name, kind, value) in enumerate(given, start=1):
        entry = f"MessageAttributes.entry.{number}"
        form |= {f"{entry}.Name": name, f"{entry}.Value.DataType": kind, f"{entry}.Value.StringValue": value}
    return urlencode(form).encode()


def _decimal(price: Money | None) -> str:
    return "" if price is None else f"{price.micros // MICROS}.{price.micros % MICROS:06d}"
