"""The settings of Amazon SNS, apart from what sends: every start reads them, whichever provider is configured."""

from datetime import date
from typing import ClassVar

from pydantic import Field

from relaypost_server.core.money import Money, PriceList
from relaypost_server.providers._settings import HttpsProviderSettings
from relaypost_server.settings import Endpoint, Prices, PricesAMinute, SendersByCountry, prefixed

PRICES = PriceList(
    as_of=date(2026, 7, 1),
    by_country={"US": Money(micros=6_450), "CA": Money(micros=6_450), "JP": Money(micros=74_510)},
)
"""USD for each segment."""


class SnsSettings(HttpsProviderSettings):
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
    senders: SendersByCountry = Field(
        {},
        description='senders for countries, as in {"IN": "ACMEIN", "US": "+14155550100"}, which outweigh the sender_id '
        "of a message; default: none",
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
    def base_url(self) -> str:
        return self.endpoint or f"https://sns.{self.region}.amazonaws.com"

    @property
    def configured(self) -> bool:
        return self.region is not None
