"""The settings of SMTP, apart from what sends: every start reads them, whichever provider is configured."""

import re
import shlex
import shutil
import ssl
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, FilePath

from relaypost_server.core.money import Money, PriceList
from relaypost_server.providers._settings import ProxiedProviderSettings, missing
from relaypost_server.settings import Endpoint, HostName, Prices, Problem, Seconds, Secret, prefixed

PRICES = PriceList(as_of=date(2026, 7, 1), default=Money(micros=0))
"""A server of one's own costs nothing a message."""


_EHLO_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[(?:IPv6:)?[0-9A-Fa-f:.]+\]")
"""A name, or an address literal (RFC 5321, section 4.1.3)."""
_LOCAL = ("localhost", "127.0.0.1", "::1")


def _ehlo_name(value: str) -> str:
    if not _EHLO_NAME.fullmatch(value):
        raise ValueError("is neither the name of a host, in ASCII, nor an address such as [192.0.2.1]")
    return value


def _command(value: Any) -> tuple[str, ...]:
    """Reads a command line as a shell splits it; no shell runs it."""
    if isinstance(value, tuple):
        return value
    try:
        words = tuple(shlex.split(value))
    except ValueError:
        words = ()
    if not words:
        raise ValueError("is no command: a quotation mark is not closed, or nothing is there")
    return words


Command = Annotated[tuple[str, ...], BeforeValidator(_command)]
EhloGiven = Annotated[str, AfterValidator(_ehlo_name)]


class Tls(StrEnum):
    """How the connection is encrypted."""

    STARTTLS = "starttls"
    """Begins in the clear, and upgrades before anything else is said or not at all."""
    IMPLICIT = "implicit"
    """TLS from the first byte."""
    NONE = "none"
    """In the clear; for a server on the same machine."""


class SmtpSettings(ProxiedProviderSettings):
    """SMTP takes part where SMTP_HOST is set."""

    model_config = prefixed("smtp")
    title: ClassVar = "SMTP"

    priority: int = Field(3, ge=1, le=1000, description="its place in the email chain, from 1 (asked first) to 1000")
    timeout_seconds: Seconds = Field(
        30.0, description="the longest that one attempt may take, in seconds; servers may check a message for a while"
    )
    pool_size: int = Field(10, ge=1, le=1000, description="the most connections open at once, 1 to 1000")
    host: HostName | None = Field(None, alias="SMTP_HOST", description="the server's name, for example smtp.gmail.com")
    port: int = Field(587, alias="SMTP_PORT", ge=1, le=65535, description="the server's port; default 587")
    user: str | None = Field(None, alias="SMTP_USER", description="the user to log in as; default: no log-in")
    password: Secret | None = Field(None, alias="SMTP_PASSWORD", description="the user's password")
    tls: Tls | None = Field(
        None, description="starttls, implicit or none; default: implicit on port 465, starttls on all others"
    )
    ca_file: FilePath | None = Field(None, description="a file of certificates (PEM) to trust instead of the system's")
    tls_server_name: HostName | None = Field(
        None, description="the name that the server's certificate must bear; default: SMTP_HOST"
    )
    oauth_token_file: Path | None = Field(
        None, description="a file with an access token for XOAUTH2, alone or as JSON; it is read for each log-in"
    )
    oauth_token_command: Command | None = Field(
        None, description="a command that prints an access token for XOAUTH2, alone or as JSON; no shell runs it"
    )
    oauth_token_url: Endpoint | None = Field(
        None, description="the URL of a token endpoint, for XOAUTH2 by the client-credentials flow of OAuth 2.0"
    )
    oauth_client_id: str | None = Field(None, max_length=256, description="the application's id at the token endpoint")
    oauth_client_secret: Secret | None = Field(None, description="the application's secret at the token endpoint")
    oauth_scope: str | None = Field(
        None,
        max_length=1000,
        description="the scope asked for, as in https://outlook.office365.com/.default; default: none",
    )
    local_hostname: EhloGiven | None = Field(
        None, description="the name given in EHLO; default: the host's full name, or else its address"
    )
    idle_seconds: Seconds = Field(30.0, description="how long an unused connection is kept, in seconds")
    prices: Prices = Field(PRICES, description='USD for each recipient, as in {"as_of": "2026-07-01", "default": "0"}')

    @property
    def configured(self) -> bool:
        return self.host is not None

    @property
    def over_https(self) -> Mapping[str, str]:
        return {"token endpoint": self.oauth_token_url} if self.oauth_token_url is not None else {}

    @property
    def encryption(self) -> Tls:
        return self.tls or (Tls.IMPLICIT if self.port == 465 else Tls.STARTTLS)

    def problems(self) -> list[Problem]:
        found = super().problems()
        if self.user and not self.password and not self._oauth:
            found.append(missing("SMTP_PASSWORD", "SMTP_USER is set"))
        if self.user and not self.host:
            found.append(missing("SMTP_HOST", "SMTP_USER is set"))
        if self.user and self.encryption is Tls.NONE:
            fix = "Set it to starttls or implicit: a password or token must not travel in the clear."
            found.append(Problem(setting="RELAYPOST_SMTP_TLS", what="is none while SMTP_USER is set", fix=fix))
        if self.ca_file and not _holds_certificates(self.ca_file):
            fix = "Name a file of certificates in PEM form."
            found.append(Problem(setting="RELAYPOST_SMTP_CA_FILE", what="holds no certificate", fix=fix))
        return found + self._problems_of_oauth()

    @property
    def _oauth(self) -> dict[str, object]:
        """The sources of access tokens that are set, by the names of their settings."""
        given = {
            "RELAYPOST_SMTP_OAUTH_TOKEN_FILE": self.oauth_token_file,
            "RELAYPOST_SMTP_OAUTH_TOKEN_COMMAND": self.oauth_token_command,
            "RELAYPOST_SMTP_OAUTH_TOKEN_URL": self.oauth_token_url,
        }
        return {name: value for name, value in given.items() if value is not None}

    def _problems_of_oauth(self) -> list[Problem]:
        found: list[Problem] = []
        sources = list(self._oauth)
        ways = [*sources, *(["SMTP_PASSWORD"] if self.password else [])]
        if sources and len(ways) > 1:
            fix = "Keep one way to log in, and remove the others."
            found.append(Problem(setting=ways[0], what=f"is set beside {' and '.join(ways[1:])}", fix=fix))
        if sources and not self.user:
            found.append(missing("SMTP_USER", f"{sources[0]} is set"))
        if self.oauth_token_command and shutil.which(self.oauth_token_command[0]) is None:
            fix = "Begin it with the path of a program that may be run."
            setting = "RELAYPOST_SMTP_OAUTH_TOKEN_COMMAND"
            found.append(Problem(setting=setting, what="names no program", fix=fix))
        return found + self._problems_of_the_flow()

    def _problems_of_the_flow(self) -> list[Problem]:
        """The endpoint, the id and the secret belong together."""
        given = {
            "RELAYPOST_SMTP_OAUTH_TOKEN_URL": self.oauth_token_url,
            "RELAYPOST_SMTP_OAUTH_CLIENT_ID": self.oauth_client_id,
            "RELAYPOST_SMTP_OAUTH_CLIENT_SECRET": self.oauth_client_secret,
        }
        there = [name for name, value in (given | {"RELAYPOST_SMTP_OAUTH_SCOPE": self.oauth_scope}).items() if value]
        found = [missing(name, f"{there[0]} is set") for name, value in given.items() if there and not value]
        url = urlsplit(self.oauth_token_url or "")
        if url.scheme == "http" and url.hostname not in _LOCAL:
            fix = "Begin it with https://, for the secret must not travel in the clear."
            found.append(Problem(setting="RELAYPOST_SMTP_OAUTH_TOKEN_URL", what="is not encrypted", fix=fix))
        return found


def _holds_certificates(path: Path) -> bool:
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError):
        return False
    return True
