"""The settings of Twilio, apart from what sends: every start reads them, whichever provider is configured."""

from collections.abc import Mapping
from datetime import date
from typing import ClassVar

from pydantic import Field

from relaypost_server.core.money import Money, PriceList
from relaypost_server.providers._settings import HttpsProviderSettings, missing
from relaypost_server.settings import Endpoint, Prices, PricesAMinute, Problem, Secret, SendersByCountry, prefixed

PRICES = PriceList(as_of=date(2026, 7, 1), by_country={"US": Money(micros=11_800)})
"""USD for each segment: 0.0083 and a carrier's fee of about 0.0035."""


class TwilioSettings(HttpsProviderSettings):
    """Twilio takes part where an account, its token or an API key, and a number or Messaging Service are set."""

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
    auth_token: Secret | None = Field(
        None,
        alias="TWILIO_AUTH_TOKEN",
        description="the account's auth token; Twilio signs receipts and replies with it, so they need it beside an "
        "API key as well",
    )
    api_key_sid: str | None = Field(
        None,
        alias="TWILIO_API_KEY_SID",
        pattern="^SK[0-9a-fA-F]{32}$",
        description="the SID of an API key to send with, in place of the auth token: SK and 32 digits",
    )
    api_key_secret: Secret | None = Field(
        None, alias="TWILIO_API_KEY_SECRET", description="the secret of that API key, which Twilio shows once"
    )
    phone_number: str | None = Field(
        None,
        alias="TWILIO_PHONE_NUMBER",
        pattern=r"^(\+[1-9]\d{6,14}|\d{3,8})$",
        description="the number or short code to send from, for example +14155550100",
    )
    messaging_service_sid: str | None = Field(
        None, pattern="^MG[0-9a-f]{32}$", description="a Messaging Service to send from, instead of a number"
    )
    senders: SendersByCountry = Field(
        {},
        description='senders for countries, as in {"IN": "ACMEIN", "US": "+14155550100"}, which outweigh the sender_id '
        "of a message; default: none",
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
    def base_url(self) -> str:
        return self.endpoint

    @property
    def configured(self) -> bool:
        sender = self.phone_number or self.messaging_service_sid
        return self.account_sid is not None and (self.auth_token is not None or self.by_api_key) and sender is not None

    @property
    def by_api_key(self) -> bool:
        """Whether requests bear an API key."""
        return self.api_key_sid is not None and self.api_key_secret is not None

    @property
    def credentials(self) -> tuple[str, str]:
        """User and password of requests."""
        user, secret = self.account_sid, self.auth_token
        if self.by_api_key:
            user, secret = self.api_key_sid, self.api_key_secret
        return user or "", secret.get_secret_value() if secret else ""

    @property
    def receipts_url(self) -> str | None:
        """The URL that Twilio is told to report to; None where reports could not be verified."""
        return self.public_url if self.auth_token else None

    def problems(self) -> list[Problem]:
        key = {"TWILIO_API_KEY_SID": self.api_key_sid, "TWILIO_API_KEY_SECRET": self.api_key_secret}
        given = {
            "TWILIO_ACCOUNT_SID": self.account_sid,
            "TWILIO_AUTH_TOKEN": self.auth_token or (self.api_key_sid or self.api_key_secret),
            "TWILIO_PHONE_NUMBER": self.phone_number or self.messaging_service_sid,
        }
        return super().problems() + _halves(key) + _halves(given)


def _halves(given: Mapping[str, object]) -> list[Problem]:
    """The settings that are missing, where some are there."""
    there = [name for name, value in given.items() if value]
    return [missing(name, f"{there[0]} is set") for name, value in given.items() if there and not value]
