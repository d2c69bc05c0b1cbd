"""Any SMTP server.

The dialogue is led step by step, because only the step tells what a lost
connection means: before the final dot nothing was sent, after it something may
have been (RFC 5321, section 4.2.5). TLS never falls back to plain text.
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import ClassVar

import aiosmtplib
from aiosmtplib import SMTP, SMTPResponse
from pydantic import Field, FilePath

from relaypost_server.core.message import Channel, Email, Message
from relaypost_server.core.money import Money, PriceList
from relaypost_server.core.outcome import Kind, Outcome, RefusedRecipient
from relaypost_server.core.ports import Finding, Level
from relaypost_server.providers._mime import write_mime
from relaypost_server.providers._pricing import priced
from relaypost_server.providers._settings import PaidProviderSettings, missing
from relaypost_server.providers._smtp_pool import (
    AUTHENTICATION_REQUIRED,
    CLOSING,
    Pool,
    RefusedError,
    Server,
    Tls,
    code_of,
    explain,
)
from relaypost_server.providers._threads import built
from relaypost_server.settings import HostName, Prices, Problem, Seconds, Secret, prefixed

PRICES = PriceList(as_of=date(2026, 7, 1), default=Money(micros=0))
"""A server of one's own costs nothing a message."""


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


@dataclass(slots=True)
class _Progress:
    submitted: bool = False
    """The final dot may have reached the server."""


class Smtp:
    """Sends email through an SMTP server, over connections that are kept."""

    name = "smtp"
    channel = Channel.EMAIL
    Settings: ClassVar = SmtpSettings

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings
        self._pool = Pool(
            Server(
                host=settings.host or "",
                port=settings.port,
                tls=settings.encryption,
                ca_file=str(settings.ca_file) if settings.ca_file else None,
                user=settings.user,
                password=settings.password.get_secret_value() if settings.password else "",
                local_hostname=settings.local_hostname,
                connect_timeout=settings.connect_timeout_seconds,
                timeout=settings.timeout_seconds,
            ),
            size=settings.pool_size,
            idle_seconds=settings.idle_seconds,
        )

    async def send(self, message: Message[Email], *, timeout: float) -> Outcome:
        progress = _Progress()
        try:
            async with asyncio.timeout(timeout):
                outcome = await self._deliver(message, progress)
        except RefusedError as refused:
            outcome = refused.outcome
        except (aiosmtplib.SMTPException, OSError) as error:
            outcome = _lost(error, submitted=progress.submitted)
        return priced(outcome, self._settings.prices, len(message.content.recipients))

    async def check(self) -> Sequence[Finding]:
        fix = "Check SMTP_HOST, SMTP_PORT, SMTP_USER, SMTP_PASSWORD and RELAYPOST_SMTP_TLS."
        try:
            async with asyncio.timeout(self._settings.timeout_seconds), self._pool.connection() as smtp:
                await smtp.noop()
        except RefusedError as refused:
            return [Finding(subject="log-in", level=Level.FAILURE, detail=refused.outcome.detail, fix=fix)]
        except (aiosmtplib.SMTPException, OSError) as error:
            return [Finding(subject="connection", level=Level.FAILURE, detail=type(error).__name__, fix=fix)]
        return [Finding(subject="connection", level=Level.OK, detail=f"connected, TLS {self._settings.encryption}")]

    async def close(self) -> None:
        await self._pool.close()

    async def _deliver(self, message: Message[Email], progress: _Progress) -> Outcome:
        content = await built(message.content, lambda: write_mime(message))
        async with self._pool.connection() as smtp:
            refused = await _envelope(smtp, message.content, len(content))
            return await _data(smtp, content, refused, progress)


async def _envelope(smtp: SMTP, email: Email, size: int) -> tuple[RefusedRecipient, ...]:
    """Says who the message is from and for; the recipients that the server refused."""
    options = [b"SIZE=%d" % size] if smtp.supports_extension("size") else []
    reply = await _ask(smtp, b"MAIL", b"FROM:<%s>" % email.sender.email.encode(), *options)
    if not _positive(reply):
        raise RefusedError(_sender_refused(reply))
    replies = {recipient: await _ask(smtp, b"RCPT", b"TO:<%s>" % recipient.encode()) for recipient in email.recipients}
    refused = {recipient: reply for recipient, reply in replies.items() if not _positive(reply)}
    if len(refused) == len(replies):
        raise RefusedError(_all_refused(list(refused.values())))
    return tuple(
        RefusedRecipient(address=recipient, provider_code=code_of(reply), temporary=reply.code < 500)
        for recipient, reply in refused.items()
    )


async def _data(smtp: SMTP, content: bytes, refused: tuple[RefusedRecipient, ...], progress: _Progress) -> Outcome:
    """Hands the message over."""
    reply = await _ask(smtp, b"DATA")
    if reply.code != _GO_AHEAD:
        raise RefusedError(_content_refused(reply))
    protocol = smtp.protocol
    if protocol is None:
        raise aiosmtplib.SMTPServerDisconnected("lost before the message")
    progress.submitted = True
    protocol.write(_dotted(content))
    reply = await protocol.read_response(timeout=smtp.timeout)
    if not _positive(reply):
        return _content_refused(reply)
    detail = f"accepted, but for {len(refused)} refused recipients" if refused else ""
    return Outcome(
        kind=Kind.ACCEPTED,
        detail=detail,
        provider_code=code_of(reply),
        provider_message_id=reply.message,
        refused=refused,
    )


def _dotted(content: bytes) -> bytes:
    """The content with its leading dots doubled, and the dot that ends it (RFC 5321, section 4.5.2)."""
    end = b".\r\n" if content.endswith(b"\r\n") else b"\r\n.\r\n"
    return content.replace(b"\r\n.", b"\r\n..") + end


_GO_AHEAD = 354
_TOO_LARGE = 552
_NOT_SENT_YET = "the server closed the connection before the message was sent"


async def _ask(smtp: SMTP, *command: bytes) -> SMTPResponse:
    """A command that comes before the message; raises RefusedError where the server hangs up instead."""
    reply = await smtp.execute_command(*command)
    if reply.code == CLOSING:
        raise RefusedError(Outcome(kind=Kind.UNREACHABLE, detail=_NOT_SENT_YET, provider_code=code_of(reply)))
    return reply


def _positive(reply: SMTPResponse) -> bool:
    return 200 <= reply.code < 300


def _sender_refused(reply: SMTPResponse) -> Outcome:
    if reply.code == _TOO_LARGE:
        return explain(Kind.REJECTED, reply)
    if reply.code in AUTHENTICATION_REQUIRED:
        return explain(Kind.UNAUTHORIZED, reply)
    return explain(Kind.THROTTLED if reply.code < 500 else Kind.UNSUPPORTED, reply)


def _all_refused(replies: list[SMTPResponse]) -> Outcome:
    """One temporary refusal is enough to try elsewhere."""
    for reply in replies:
        if reply.code in AUTHENTICATION_REQUIRED:
            return explain(Kind.UNAUTHORIZED, reply)
        if reply.code < 500:
            return explain(Kind.FAULTED, reply)
    return explain(Kind.REJECTED, replies[0])


def _content_refused(reply: SMTPResponse) -> Outcome:
    return explain(Kind.FAULTED if reply.code < 500 else Kind.REJECTED, reply)


def _lost(error: Exception, *, submitted: bool) -> Outcome:
    what = "time-out" if isinstance(error, TimeoutError) else type(error).__name__
    if submitted:
        return Outcome(kind=Kind.UNCONFIRMED, detail=f"no reply after the message was sent ({what})")
    return Outcome(kind=Kind.UNREACHABLE, detail=f"lost before the message was sent ({what})")
