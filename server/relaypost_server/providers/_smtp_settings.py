"""The settings of SMTP, apart from what sends: every start reads them, whichever provider is configured."""

import socket
import ssl
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from pydantic import Field, FilePath

from relaypost_server.core.money import Money, PriceList
from relaypost_server.providers._settings import PaidProviderSettings, missing
from relaypost_server.settings import HostName, Prices, Problem, Seconds, Secret, prefixed

PRICES = PriceList(as_of=date(2026, 7, 1), default=Money(micros=0))
"""A server of one's own costs nothing a message."""


class Tls(StrEnum):
    """How the connection is encrypted."""

    STARTTLS = "starttls"
    """Begins in the clear, and upgrades before anything else is said or not at all."""
    IMPLICIT = "implicit"
    """TLS from the first byte."""
    NONE = "none"
    """In the clear; for a server on the same machine."""


class SmtpSettings(PaidProviderSettings):
    """SMTP takes part where SMTP_HOST is set."""

    model_config = prefixed("smtp")
    title: ClassVar = "SMTP"

    priority: int = Field(3, ge=1, le=1000, description="its place in the email chain, from 1 (asked first) to 1000")
    pool_size: int = Field(10, ge=1, le=1000, description="the most connections open at once, 1 to 1000")
    host: HostName | None = Field(None, alias="SMTP_HOST", description="the server's name, for example smtp.gmail.com")
    port: int = Field(587, alias="SMTP_PORT", ge=1, le=65535, description="the server's port; default 587")
    user: str | None = Field(None, alias="SMTP_USER", description="the user to log in as; default: no log-in")
    password: Secret | None = Field(None, alias="SMTP_PASSWORD", description="the user's password")
    tls: Tls | None = Field(
        None, description="starttls, implicit or none; default: implicit on port 465, starttls on all others"
    )
    ca_file: FilePath | None = Field(None, description="a file of certificates (PEM) to trust instead of the system's")
    local_hostname: str = Field(
        default_factory=socket.gethostname, description="the name given in EHLO; default: the machine's"
    )
    idle_seconds: Seconds = Field(30.0, description="how long an unused connection is kept, in seconds")
    prices: Prices = Field(PRICES, description='USD for each recipient, as in {"as_of": "2026-07-01", "default": "0"}')

    @property
    def configured(self) -> bool:
        return self.host is not None

    @property
    def encryption(self) -> Tls:
        return self.tls or (Tls.IMPLICIT if self.port == 465 else Tls.STARTTLS)

    def problems(self) -> list[Problem]:
        found = super().problems()
        if self.user and not self.password:
            found.append(missing("SMTP_PASSWORD", "SMTP_USER is set"))
        if self.user and not self.host:
            found.append(missing("SMTP_HOST", "SMTP_USER is set"))
        if self.user and self.encryption is Tls.NONE:
            fix = "Set it to starttls or implicit: a password must not travel in the clear."
            found.append(Problem(setting="RELAYPOST_SMTP_TLS", what="is none while SMTP_USER is set", fix=fix))
        if self.ca_file and not _holds_certificates(self.ca_file):
            fix = "Name a file of certificates in PEM form."
            found.append(Problem(setting="RELAYPOST_SMTP_CA_FILE", what="holds no certificate", fix=fix))
        return found


def _holds_certificates(path: Path) -> bool:
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError):
        return False
    return True
