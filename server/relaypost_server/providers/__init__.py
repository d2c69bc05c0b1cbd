"""The ways out. A new provider is one file, and one line in PROVIDERS."""

from typing import Any

from relaypost_server.providers.console import ConsoleEmail, ConsoleSms
from relaypost_server.providers.sendgrid import SendGrid
from relaypost_server.providers.ses import Ses
from relaypost_server.providers.smtp import Smtp
from relaypost_server.providers.sns import Sns
from relaypost_server.providers.twilio import Twilio

PROVIDERS: tuple[type[Any], ...] = (
    Ses,
    SendGrid,
    Smtp,
    Sns,
    Twilio,
    ConsoleEmail,
    ConsoleSms,
)
"""Each has a name, a channel, a Settings class to be built from, and is a `core.ports.Provider`."""
