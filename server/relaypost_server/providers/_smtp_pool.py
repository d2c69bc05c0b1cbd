"""SMTP connections: opened, encrypted, logged in, and kept for the next message."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiosmtplib
from aiosmtplib import SMTP, SMTPResponse

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.providers._attempt_time import AttemptTime, no_room
from relaypost_server.providers._connecting import Host
from relaypost_server.providers._places import Places
from relaypost_server.providers._smtp_replies import CLOSING, explain
from relaypost_server.providers._smtp_settings import Tls

CHECK_SECONDS = 1.0
"""How long a kept connection may take to answer RSET, or a third of the time to write where that is less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where and how to connect; times in seconds."""

    host: str
    port: int
    tls: Tls
    ca_file: str | None
    user: str | None
    password: str = field(repr=False)
    local_hostname: str
    connect_timeout: float
    timeout: float


class RefusedError(Exception):
    """The outcome is known, the server's no for example; a connection that is open is still good."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.kind)
        self.outcome = outcome


@dataclass(slots=True)
class Session:
    """A connection that is ready for MAIL."""

    smtp: SMTP
    kept: bool
    """It carried another message before: the server may have closed it since."""


class Pool:
    """At most `size` connections to one server; the one used last is used next."""

    def __init__(self, server: Server, *, size: int, idle_seconds: float) -> None:
        self._server = server
        self._host = Host(server.host, server.port)
        self._idle_seconds = idle_seconds
        self._places = Places(size)
        self._idle: list[tuple[SMTP, float]] = []
        self._tls = ssl.create_default_context(cafile=server.ca_file) if server.tls is not Tls.NONE else None

    @asynccontextmanager
    async def session(self, attempt: AttemptTime) -> AsyncIterator[Session]:
        """A place and a connection for one message. Raises RefusedError, SMTPException or OSError."""
        await self._place(attempt)
        try:
            async with self._session(attempt) as session:
                yield session
        finally:
            self._places.give_back()

    async def renew(self, session: Session) -> None:
        """Connects anew, in place of a kept connection that the server closed."""
        session.smtp.close()
        session.smtp = await self._connect()
        session.kept = False

    async def close(self) -> None:
        while self._idle:
            self._idle.pop()[0].close()

    async def _place(self, attempt: AttemptTime) -> None:
        began, limit = time.monotonic(), min(self._server.connect_timeout, attempt.left_to_write)
        if not await self._places.wait(limit):
            raise RefusedError(no_room("no free connection", limit))
        attempt.waited(began)

    @asynccontextmanager
    async def _session(self, attempt: AttemptTime) -> AsyncIterator[Session]:
        smtp = await self._reuse(attempt)
        session = Session(smtp, kept=True) if smtp else Session(await self._connect(), kept=False)
        try:
            yield session
        except RefusedError:
            self._keep(session.smtp)
            raise
        except BaseException:
            session.smtp.close()
            raise
        self._keep(session.smtp)

    def _keep(self, smtp: SMTP) -> None:
        if smtp.is_connected:
            self._idle.append((smtp, time.monotonic()))

    async def _reuse(self, attempt: AttemptTime) -> SMTP | None:
        """The connection that was used last, if it still answers. One look, for the others are older.

        The RSET also clears what a refusal left behind. Its time is not the provider's fault.
        """
        began, limit = time.monotonic(), min(CHECK_SECONDS, attempt.left_to_write / 3)
        if limit <= 0:
            raise TimeoutError
        smtp = self._last_used()
        if smtp is None:
            return None
        try:
            await smtp.rset(timeout=limit)
        except aiosmtplib.SMTPException as error:
            smtp.close()
            if isinstance(error, TimeoutError):
                await self.close()  # Most likely the network dropped the older connections too.
            attempt.waited(began)
            return None
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _last_used(self) -> SMTP | None:
        """Closes connections that were kept for too long."""
        now = time.monotonic()
        while self._idle:
            smtp, since = self._idle.pop()
            if now - since < self._idle_seconds and smtp.is_connected:
                return smtp
            smtp.close()
        return None

    async def _connect(self) -> SMTP:
        server = self._server
        async with asyncio.timeout(server.connect_timeout):
            smtp = SMTP(
                hostname=server.host,
                sock=await self._host.connect(),
                local_hostname=server.local_hostname,
                use_tls=server.tls is Tls.IMPLICIT,
                start_tls=server.tls is Tls.STARTTLS,
                tls_context=self._tls,
                timeout=server.timeout,
            )
            await smtp.connect()
            try:
                await smtp.ehlo()
                if server.user is not None:
                    await _log_in(smtp, server.user, server.password)
            except BaseException:
                smtp.close()
                raise
        return smtp


async def _log_in(smtp: SMTP, user: str, password: str) -> None:
    try:
        await smtp.login(user, password)
    except aiosmtplib.SMTPAuthenticationError as error:
        reply = SMTPResponse(error.code, error.message)
        if error.code == CLOSING:
            raise aiosmtplib.SMTPServerDisconnected("closed during log-in") from None
        # 454 is how SES answers on SMTP when a sending limit is reached.
        raise RefusedError(explain(Kind.THROTTLED if error.code < 500 else Kind.UNAUTHORIZED, reply)) from None
    except aiosmtplib.SMTPException as error:
        if isinstance(error, OSError):  # Lost or timed out: that is no answer about the log-in.
            raise
        detail = "the server offers no way to log in that we know"
        raise RefusedError(Outcome(kind=Kind.UNAUTHORIZED, detail=detail, alert=True)) from None
