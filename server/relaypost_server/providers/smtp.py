"""Any SMTP server.

The dialogue is led step by step, because only the step tells what a lost
connection means: before the final dot nothing was sent, after it something may
have been (RFC 5321, section 4.2.5). TLS never falls back to plain text.
"""

import asyncio
from collections.abc import Sequence

import aiosmtplib
from aiosmtplib import SMTP, SMTPResponse

from relaypost_server.core.message import Channel, Email, Message, Tracking
from relaypost_server.core.outcome import Kind, Outcome, RefusedRecipient
from relaypost_server.core.ports import Finding, Level
from relaypost_server.providers._attempt_time import AttemptTime
from relaypost_server.providers._mime import write_mime
from relaypost_server.providers._pricing import priced
from relaypost_server.providers._smtp_pool import (
    Pool,
    RefusedError,
    Server,
    Session,
)
from relaypost_server.providers._smtp_replies import (
    CLOSING,
    all_refused,
    code_of,
    content_refused,
    positive,
    queue_id,
    sender_refused,
)
from relaypost_server.providers._smtp_settings import SmtpSettings
from relaypost_server.providers._threads import built


class Smtp:
    """Sends email through an SMTP server, over connections that are kept."""

    name = "smtp"
    channel = Channel.EMAIL

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
        if message.content.tracking is Tracking.ON:
            return Outcome(kind=Kind.UNSUPPORTED, detail="SMTP tracks no emails")
        attempt = AttemptTime(timeout)
        content = await built(message.content, lambda: write_mime(message), attempt)
        if isinstance(content, Outcome):
            return content
        outcome = await self._deliver(message.content, content, attempt)
        return priced(outcome, self._settings.prices, len(message.content.recipients))

    async def check(self) -> Sequence[Finding]:
        fix = "Check SMTP_HOST, SMTP_PORT, SMTP_USER, SMTP_PASSWORD and RELAYPOST_SMTP_TLS."
        seconds = self._settings.timeout_seconds
        try:
            async with asyncio.timeout(seconds), self._pool.session(AttemptTime(seconds)) as session:
                await session.smtp.noop()
        except RefusedError as refused:
            return [Finding(subject="log-in", level=Level.FAILURE, detail=refused.outcome.detail, fix=fix)]
        except (aiosmtplib.SMTPException, OSError) as error:
            return [Finding(subject="connection", level=Level.FAILURE, detail=type(error).__name__, fix=fix)]
        return [Finding(subject="connection", level=Level.OK, detail=f"connected, TLS {self._settings.encryption}")]

    async def close(self) -> None:
        await self._pool.close()

    async def _deliver(self, email: Email, content: bytes, attempt: AttemptTime) -> Outcome:
        limit = _Limit(attempt)
        try:
            async with limit.scope, self._pool.session(attempt) as session:
                refused = await _envelope(self._pool, session, email, len(content))
                return await _data(session.smtp, content, refused, limit)
        except RefusedError as refused_error:
            return refused_error.outcome
        except (aiosmtplib.SMTPException, OSError) as error:
            return limit.lost(error)


class _Limit:
    """The time-out of the dialogue: first the time left to write the message, then the time left for the answer."""

    def __init__(self, attempt: AttemptTime) -> None:
        self._attempt = attempt
        self._submitted = False
        """The final dot may have reached the server."""
        self.scope = asyncio.timeout(attempt.left_to_write)

    def submit(self) -> None:
        """From here on a loss is uncertain. Raises TimeoutError where it is too late to begin."""
        seconds = self._attempt.left_for_answer()
        if seconds is None:
            raise TimeoutError
        self._submitted = True
        self.scope.reschedule(asyncio.get_running_loop().time() + seconds)

    def lost(self, error: Exception) -> Outcome:
        """The outcome of a connection that was lost, or of time that ran out."""
        what = "time-out" if isinstance(error, TimeoutError) else type(error).__name__
        late = self.scope.expired() or self._attempt.left_to_write <= 0
        if self._submitted:
            detail = f"no reply after the message was sent ({what})"
            return self._attempt.over(_LOST, detail) if self.scope.expired() else Outcome(kind=_LOST, detail=detail)
        if late and what == "time-out":
            return self._attempt.too_late()
        return Outcome(kind=Kind.UNREACHABLE, detail=f"lost before the message was sent ({what})")


_LOST = Kind.UNCONFIRMED


async def _envelope(pool: Pool, session: Session, email: Email, size: int) -> tuple[RefusedRecipient, ...]:
    """Says who the message is from and for; the recipients that the server refused."""
    await _mail(pool, session, email, size)
    smtp = session.smtp
    replies = {recipient: await _ask(smtp, b"RCPT", b"TO:<%s>" % recipient.encode()) for recipient in email.recipients}
    refused = {recipient: reply for recipient, reply in replies.items() if not positive(reply)}
    if len(refused) == len(replies):
        raise RefusedError(all_refused(list(refused.values())))
    return tuple(
        RefusedRecipient(address=recipient, provider_code=code_of(reply), temporary=reply.code < 500)
        for recipient, reply in refused.items()
    )


async def _mail(pool: Pool, session: Session, email: Email, size: int) -> None:
    """Begins the message; over a new connection where the server closed a kept one between two messages."""
    try:
        reply = await _say_mail(session.smtp, email, size)
    except (RefusedError, aiosmtplib.SMTPServerDisconnected):
        if not session.kept:
            raise
        await pool.renew(session)
        reply = await _say_mail(session.smtp, email, size)
    if not positive(reply):
        raise RefusedError(sender_refused(reply))


async def _say_mail(smtp: SMTP, email: Email, size: int) -> SMTPResponse:
    sender = email.envelope_sender or email.sender.email
    options = [b"SIZE=%d" % size] if smtp.supports_extension("size") else []
    return await _ask(smtp, b"MAIL", b"FROM:<%s>" % sender.encode(), *options)


async def _data(smtp: SMTP, content: bytes, refused: tuple[RefusedRecipient, ...], limit: _Limit) -> Outcome:
    """Hands the message over."""
    reply = await _ask(smtp, b"DATA")
    if reply.code != _GO_AHEAD:
        raise RefusedError(content_refused(reply))
    protocol = smtp.protocol
    if protocol is None:
        raise aiosmtplib.SMTPServerDisconnected("lost before the message")
    limit.submit()
    protocol.write(_dotted(content))
    reply = await protocol.read_response(timeout=smtp.timeout)
    if not positive(reply):
        return content_refused(reply)
    detail = f"accepted, but for {len(refused)} refused recipients" if refused else ""
    return Outcome(
        kind=Kind.ACCEPTED,
        detail=detail,
        provider_text=reply.message,
        provider_code=code_of(reply),
        provider_message_id=queue_id(reply.message),
        refused=refused,
    )


def _dotted(content: bytes) -> bytes:
    """The content with its leading dots doubled, and the dot that ends it (RFC 5321, section 4.5.2)."""
    end = b".\r\n" if content.endswith(b"\r\n") else b"\r\n.\r\n"
    return content.replace(b"\r\n.", b"\r\n..") + end


_GO_AHEAD = 354
_NOT_SENT_YET = "the server closed the connection before the message was sent"


async def _ask(smtp: SMTP, *command: bytes) -> SMTPResponse:
    """A command that comes before the message; raises RefusedError where the server hangs up instead."""
    reply = await smtp.execute_command(*command)
    if reply.code == CLOSING:
        smtp.close()
        raise RefusedError(Outcome(kind=Kind.UNREACHABLE, detail=_NOT_SENT_YET, provider_code=code_of(reply)))
    return reply
