"""How each provider is configured against a peer on this machine: a line for a new one."""

from collections.abc import Callable, Mapping
from typing import Any

from relaypost_server.core.message import Channel
from relaypost_server.providers import PROVIDERS
from relaypost_server.settings import read
from tests import messages

AWS = {"AWS_REGION": "us-east-1"}
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "SENDGRID_API_KEY": "SG.ngeVfQFYQlKU0ufo8x5d1A.TwL2iGABf9DHoTf",
    "TWILIO_AUTH_TOKEN": "0123456789abcdef0123456789abcdee",
    "SMTP_PASSWORD": "correct-horse-battery-staple",
}
TWILIO = {
    "TWILIO_ACCOUNT_SID": "AC0123456789abcdef0123456789abcdef",
    "TWILIO_AUTH_TOKEN": SECRETS["TWILIO_AUTH_TOKEN"],
    "TWILIO_PHONE_NUMBER": "+14155550100",
}

OVER_HTTP: Mapping[str, Callable[[str], dict[str, str]]] = {
    "ses": lambda url: {**AWS, "RELAYPOST_SES_ENDPOINT": url},
    "sendgrid": lambda url: {
        "SENDGRID_API_KEY": SECRETS["SENDGRID_API_KEY"],
        "RELAYPOST_SENDGRID_ENDPOINT": url,
    },
    "sns": lambda url: {**AWS, "RELAYPOST_SNS_ENDPOINT": url},
    "twilio": lambda url: {**TWILIO, "RELAYPOST_TWILIO_ENDPOINT": url},
}
"""The environment of each provider that speaks HTTP, for the URL of its peer."""

OTHERS = {"smtp", "console"}
"""Providers that speak something else, and have tests of their own."""


def build(name: str, environ: Mapping[str, str]) -> Any:
    """The provider `name` with these settings."""
    kind = next(p for p in PROVIDERS if p.name == name)
    settings, problems = read(kind.Settings, environ)
    assert settings is not None, problems
    assert settings.configured
    return kind.load()(settings)


def message_for(provider: Any) -> Any:
    return messages.email() if provider.channel is Channel.EMAIL else messages.sms()


async def warmed_up(provider: Any) -> Any:
    """The provider, with its AWS credentials loaded: the first look-up takes most of a second on a busy machine."""
    aws = getattr(provider, "_aws", None)
    if aws is not None:
        await aws._credentials.keys()
    return provider
