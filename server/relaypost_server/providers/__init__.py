"""Provider adapters. A new provider is one file, one for its settings, and one entry in PROVIDERS."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from relaypost_server.core.message import Channel
from relaypost_server.providers._console_settings import ConsoleSettings
from relaypost_server.providers._sendgrid_settings import SendGridSettings
from relaypost_server.providers._ses_settings import SesSettings
from relaypost_server.providers._settings import ProviderSettings
from relaypost_server.providers._smtp_settings import SmtpSettings
from relaypost_server.providers._sns_settings import SnsSettings
from relaypost_server.providers._twilio_settings import TwilioSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKind:
    """The description of a provider. Its module is loaded only if the provider takes part."""

    name: str
    channel: Channel
    Settings: type[ProviderSettings]
    place: str
    """Its class, a `core.ports.Provider`, as module:name of this package."""
    development: bool = False

    def load(self) -> type[Any]:
        """Imports it and the vendor's library."""
        module, _, name = self.place.partition(":")
        loaded: type[Any] = getattr(import_module(f"{__package__}.{module}"), name)
        return loaded


PROVIDERS = (
    ProviderKind(name="ses", channel=Channel.EMAIL, Settings=SesSettings, place="ses:Ses"),
    ProviderKind(name="sendgrid", channel=Channel.EMAIL, Settings=SendGridSettings, place="sendgrid:SendGrid"),
    ProviderKind(name="smtp", channel=Channel.EMAIL, Settings=SmtpSettings, place="smtp:Smtp"),
    ProviderKind(name="sns", channel=Channel.SMS, Settings=SnsSettings, place="sns:Sns"),
    ProviderKind(name="twilio", channel=Channel.SMS, Settings=TwilioSettings, place="twilio:Twilio"),
    ProviderKind(
        name="console",
        channel=Channel.EMAIL,
        Settings=ConsoleSettings,
        place="console:ConsoleEmail",
        development=True,
    ),
    ProviderKind(
        name="console", channel=Channel.SMS, Settings=ConsoleSettings, place="console:ConsoleSms", development=True
    ),
)
