"""The settings of SendGrid, apart from what sends: every start reads them, whichever provider is configured."""

from datetime import date
from typing import ClassVar

from pydantic import Field

from relaypost_server.core.money import Money, PriceList
from relaypost_server.providers._settings import HttpsProviderSettings
from relaypost_server.settings import Endpoint, Prices, Secret, VerificationKey, Window, prefixed

PRICES = PriceList(as_of=date(2026, 7, 1), default=Money(micros=900))
"""USD for each recipient: the overage of the Essentials plan."""


class SendGridSettings(HttpsProviderSettings):
    """SendGrid takes part where SENDGRID_API_KEY is set."""

    model_config = prefixed("sendgrid")
    title: ClassVar = "SendGrid"

    priority: int = Field(2, ge=1, le=1000, description="its place in the email chain, from 1 (asked first) to 1000")
    api_key: Secret | None = Field(None, alias="SENDGRID_API_KEY", description="an API key with the scope mail.send")
    endpoint: Endpoint = Field("https://api.sendgrid.com", description="the URL of the API")
    sandbox: bool = Field(
        False, description="true to have SendGrid check every message and deliver none; default false"
    )
    webhook_key: VerificationKey | None = Field(
        None, description="the Event Webhook's verification key: a line of base64; see docs/receipts.md"
    )
    webhook_window_seconds: Window = Field(
        300.0, description="how far from now the time may be that a batch of receipts was signed at, in seconds"
    )
    look_ups: bool = Field(
        False,
        description="true where the account has the add-on Email Activity: SendGrid is then asked what became of "
        "messages that may have been sent; default false",
    )
    prices: Prices = Field(
        PRICES, description='USD for each recipient, as in {"as_of": "2026-07-01", "default": "0.0009"}'
    )

    @property
    def base_url(self) -> str:
        return self.endpoint

    @property
    def configured(self) -> bool:
        return self.api_key is not None
