"""Any SMTP server.

The dialogue is led step by step, because only the step tells what a lost
connection means: before the final dot nothing was sent, after it something may
have been (RFC 5321, section 4.2.5). TLS never falls back to plain text.
"""

import asyncio
from collections.abc import Sequence

import aiosmtplib

from relaypost_server.core.message import Channel, Email, Message, Tracking
from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.ports import Finding, Level
from relaypost_server.providers._attempt_time import AttemptTime
from relaypost_server.providers._mime import write_mime
from relaypost_server.providers._oauth_command import TokenCommand
from relaypost_server.providers._oauth_sources import ClientCredentials, TokenFile
from relaypost_server.providers._oauth_tokens import Tokens, TokenSource
from relaypost_server.providers._pricing import priced
from relaypost_server.providers._smtp_connecting import Opener, Server
from relaypost_server.providers._smtp_envelope import Envelope
from relaypost_server.providers._smtp_log_in import LogIn, NoLogIn, PasswordLogIn, TokenLogIn
from relaypost_server.providers._smtp_meanings import RefusedError
from relaypost_server.providers._smtp_pool import Pool
from relaypost_server.providers._smtp_settings import SmtpSettings
from relaypost_server.providers._smtp_transactions import Transactions, WriteLimit
from relaypost_server.providers._threads import built

_FIX = "Check SMTP_HOST, SMTP_PORT, SMTP_USER, SMTP_PASSWORD and RELAYPOST_SMTP_TLS."


class Smtp:
    """Sends email through an SMTP server, over connections that are kept."""

    name = "smtp"
    channel = Channel.EMAIL

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings
        self._log_in = _log_in(settings)
        host = settings.host or ""
        server = Server(
            host=host,
            port=settings.port,
            tls=settings.encryption,
            tls_name=settings.tls_server_name or host,
            ca_file=str(settings.ca_file) if settings.ca_file else None,
            local_hostname=settings.local_hostname,
            connect_timeout=settings.connect_timeout_seconds,
            timeout=settings.timeout_seconds,
        )
        self._pool = Pool(
            Opener(server, self._log_in),
            size=settings.pool_size,
            idle_seconds=settings.idle_seconds,
            connect_timeout=settings.connect_timeout_seconds,
        )

    async def send(self, message: Message[Email], *, timeout: float) -> Outcome:
        if message.content.tracking is Tracking.ON:
            return Outcome(kind=Kind.UNSUPPORTED, detail="SMTP tracks no emails")
        attempt = AttemptTime(timeout)
        content = await built(message.content, lambda: write_mime(message), attempt)
        if isinstance(content, Outcome):
            return content
        outcome = await self._deliver(message.content, content, attempt)
        return priced(outcome, self._settings.prices, len(message.content.recipients))

    async def check(self) -> Sequence[Finding]:
        seconds = self._settings.timeout_seconds
        try:
            async with asyncio.timeout(seconds), self._pool.session(AttemptTime(seconds)) as session:
                await session.smtp.noop()
        except RefusedError as refused:
            subject = "log-in" if refused.outcome.kind is Kind.UNAUTHORIZED else "connection"
            return [Finding(subject=subject, level=Level.FAILURE, detail=refused.outcome.full_detail, fix=_FIX)]
        except (aiosmtplib.SMTPException, OSError) as error:
            return [Finding(subject="connection", level=Level.FAILURE, detail=type(error).__name__, fix=_FIX)]
        detail = f"connected, TLS {self._settings.encryption}, {self._log_in.way}"
        return [Finding(subject="connection", level=Level.OK, detail=detail)]

    async def close(self) -> None:
        await self._pool.close()

    async def _deliver(self, email: Email, content: bytes, attempt: AttemptTime) -> Outcome:
        limit = WriteLimit(attempt)
        transactions = Transactions(self._pool, Envelope(email, content), content, limit)
        try:
            async with limit.scope, self._pool.session(attempt) as session:
                await transactions.run(session)
        except RefusedError as refused:
            return transactions.ended(refused.outcome)
        except (aiosmtplib.SMTPException, OSError) as error:
            return transactions.ended(limit.lost(error))
        return transactions.outcome()


def _log_in(settings: SmtpSettings) -> LogIn:
    if settings.user is None:
        return NoLogIn()
    source = _token_source(settings)
    if source is not None:
        return TokenLogIn(settings.user, Tokens(source))
    return PasswordLogIn(settings.user, settings.password.get_secret_value() if settings.password else "")


def _token_source(settings: SmtpSettings) -> TokenSource | None:
    if settings.oauth_token_file is not None:
        return TokenFile(settings.oauth_token_file)
    if settings.oauth_token_command is not None:
        return TokenCommand(settings.oauth_token_command)
    if settings.oauth_token_url is None or settings.oauth_client_secret is None:
        return None
    return ClientCredentials(
        settings.oauth_token_url,
        settings,
        client_id=settings.oauth_client_id or "",
        secret=settings.oauth_client_secret.get_secret_value(),
        scope=settings.oauth_scope or "",
    )
