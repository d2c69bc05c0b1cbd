"""SMTP connections: opened, encrypted, logged in, and kept for the next message."""

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiosmtplib
from aiosmtplib import SMTP, SMTPResponse

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.providers._connecting import Host
from relaypost_server.providers._smtp_settings import Tls

CLOSING = 421
AUTHENTICATION_REQUIRED = frozenset({530, 534, 535, 538})
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where and how to connect; times in seconds."""

    host: str
    port: int
    tls: Tls
    ca_file: str | None
    user: str | None
    password: str
    local_hostname: str
    connect_timeout: float
    timeout: float


class RefusedError(Exception):
    """The server said no; the connection is still good."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.kind)
        self.outcome = outcome


def code_of(reply: SMTPResponse) -> str:
    """The reply code, with the enhanced status code (RFC 3463) where there is one: "550 5.1.1"."""
    enhanced = _ENHANCED.match(reply.message)
    return f"{reply.code} {enhanced.group()}" if enhanced else str(reply.code)


def explain(kind: Kind, reply: SMTPResponse) -> Outcome:
    """The outcome of a reply that refuses."""
    return Outcome(
        kind=kind,
        detail=f"SMTP {reply.code}: {reply.message}",
        provider_code=code_of(reply),
        alert=kind in (Kind.UNAUTHORIZED, Kind.UNSUPPORTED),
    )


class Pool:
    """At most `size` connections to one server; the one used last is used next."""

    def __init__(self, server: Server, *, size: int, idle_seconds: float) -> None:
        self._server = server
        self._host = Host(server.host, server.port)
        self._idle_seconds = idle_seconds
        self._room = asyncio.Semaphore(size)
        self._idle: list[tuple[SMTP, float]] = []
        self._tls = ssl.create_default_context(cafile=server.ca_file) if server.tls is not Tls.NONE else None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[SMTP]:
        """A connection that is ready for MAIL. Raises RefusedError, SMTPException or OSError."""
        async with self._room:
            smtp = await self._reuse() or await self._connect()
            try:
                yield smtp
            except RefusedError:
                self._keep(smtp)
                raise
            except BaseException:
                smtp.close()
                raise
            self._keep(smtp)

    async def close(self) -> None:
        while self._idle:
            smtp, _ = self._idle.pop()
            smtp.close()

    def _keep(self, smtp: SMTP) -> None:
        if smtp.is_connected:
            self._idle.append((smtp, time.monotonic()))

    async def _reuse(self) -> SMTP | None:
        """A kept connection that still answers. The RSET also clears what a refusal left behind."""
        while self._idle:
            smtp, since = self._idle.pop()
            if time.monotonic() - since < self._idle_seconds:
                try:
                    await smtp.rset()
                except aiosmtplib.SMTPException:
                    smtp.close()
                    continue
                except BaseException:
                    smtp.close()
                    raise
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
