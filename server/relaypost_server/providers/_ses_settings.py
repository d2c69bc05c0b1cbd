"""The settings of Amazon SES, apart from what sends: every start reads them, whichever provider is configured."""

from datetime import date
from typing import ClassVar

from pydantic import Field

from relaypost_server.core.money import Money, PriceList
from relaypost_server.providers._settings import HttpsProviderSettings
from relaypost_server.settings import Endpoint, Prices, Window, prefixed

PRICES = PriceList(as_of=date(2026, 7, 21), default=Money(micros=100))
"""USD for each recipient: 0.10 per 1,000 a la carte; the Essentials plan costs 0.16."""
TOPIC = r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}$"
"""The ARN of an SNS topic."""


class SesSettings(HttpsProviderSettings):
    """Amazon SES takes part where AWS_REGION is set. Credentials come from botocore's chain."""

    model_config = prefixed("ses")
    title: ClassVar = "Amazon SES"

    priority: int = Field(1, ge=1, le=1000, description="its place in the email chain, from 1 (asked first) to 1000")
    rate: float = Field(
        14.0,
        ge=0,
        le=100_000,
        description="messages of the queue that workers send a second, as a new account may; 0: as many as they can",
    )
    region: str | None = Field(None, alias="AWS_REGION", description="the AWS region, for example us-east-1")
    endpoint: Endpoint | None = Field(
        None, description="the URL of a private endpoint; default: the region's public one"
    )
    configuration_set: str | None = Field(None, description="the SES configuration set of every message")
    topic_arn: str | None = Field(
        None, pattern=TOPIC, description="the ARN of the SNS topic that brings receipts; see docs/receipts.md"
    )
    topic_endpoint: Endpoint | None = Field(
        None, description="the URL of a private SNS, whose certificates are trusted; default: the topic's region's own"
    )
    topic_window_seconds: Window = Field(
        3900.0, description="how old a receipt may be, in seconds; SNS repeats one for an hour with its first time"
    )
    sender: str | None = Field(None, alias="OTP_FROM_EMAIL", description="the sender whose identity `doctor` checks")
    prices: Prices = Field(
        PRICES, description='USD for each recipient, as in {"as_of": "2026-07-21", "default": "0.0001"}'
    )

    @property
    def base_url(self) -> str:
        return self.endpoint or f"https://email.{self.region}.amazonaws.com"

    @property
    def configured(self) -> bool:
        return self.region is not None
