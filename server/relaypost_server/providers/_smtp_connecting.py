"""Opens SMTP connections: greeted, encrypted and logged in, or not at all. TLS never falls back to plain text."""

import asyncio
import ssl
import time
from dataclasses import dataclass
from typing import cast

import aiosmtplib
from aiosmtplib import SMTP, SMTPResponse

from relaypost_server.core.outcome import Kind
from relaypost_server.providers._attempt_time import AttemptTime
from relaypost_server.providers._connecting import Host
from relaypost_server.providers._smtp_log_in import LogIn
from relaypost_server.providers._smtp_meanings import RefusedError, outcome_at
from relaypost_server.providers._smtp_names import EhloName
from relaypost_server.providers._smtp_rows import Stage
from relaypost_server.providers._smtp_settings import Tls


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where and how to connect. Times are in seconds."""

    host: str
    port: int
    tls: Tls
    tls_name: str
    """The name that the server's certificate must have."""
    ca_file: str | None
    local_hostname: str | None
    """The name for EHLO. None: found by `EhloName`."""
    connect_timeout: float
    timeout: float


class Opener:
    """Opens connections to one server."""

    def __init__(self, server: Server, log_in: LogIn) -> None:
        self._server = server
        self._log_in = log_in
        self._host = Host(server.host, server.port)
        self._name = EhloName(server.local_hostname)
        self._tls = ssl.create_default_context(cafile=server.ca_file) if server.tls is not Tls.NONE else None

    async def open(self, attempt: AttemptTime) -> SMTP:
        """A connection that is ready for MAIL. Raises RefusedError, SMTPException or OSError.

        If the server refuses a token that was kept from an earlier log-in, a new one is fetched once.
        """
        prepared, earlier = await self._prepared(attempt)
        try:
            return await self._connect(prepared)
        except RefusedError as refused:
            if not earlier or refused.outcome.kind is not Kind.UNAUTHORIZED:
                raise
        self._log_in.forget(prepared)
        prepared, _ = await self._prepared(attempt)
        return await self._connect(prepared)

    async def close(self) -> None:
        await self._log_in.close()

    async def _prepared(self, attempt: AttemptTime) -> tuple[str, bool]:
        """Prepares the log-in. The time for that does not count against the server."""
        began = time.monotonic()
        try:
            return await self._log_in.prepare()
        finally:
            attempt.waited(began)

    async def _connect(self, prepared: str) -> SMTP:
        server = self._server
        async with asyncio.timeout(server.connect_timeout):
            smtp = SMTP(
                hostname=server.tls_name,
                sock=await self._host.connect(),
                use_tls=server.tls is Tls.IMPLICIT,
                start_tls=False,
                tls_context=self._tls,
                timeout=server.timeout,
            )
            try:
                await self._begin(smtp)
                await self._log_in.enter(smtp, prepared)
            except BaseException:
                hang_up(smtp)
                raise
        return smtp

    async def _begin(self, smtp: SMTP) -> None:
        try:
            await smtp.connect()
        except aiosmtplib.SMTPConnectResponseError as error:
            raise _refused(Stage.GREETING, error) from None
        name = await self._name.of(smtp)
        await _greet(smtp, name)
        if self._server.tls is Tls.STARTTLS:
            try:
                await smtp.starttls()
            except aiosmtplib.SMTPResponseException as error:
                raise _refused(Stage.STARTTLS, error) from None
            await _greet(smtp, name)


def hang_up(smtp: SMTP) -> None:
    """Closes the connection at once: TLS would wait for the server's own goodbye."""
    transport = smtp.transport
    smtp.close()
    if transport is not None:
        cast(asyncio.WriteTransport, transport).abort()  # uvloop's are none of asyncio's, but alike.


async def _greet(smtp: SMTP, name: str) -> None:
    try:
        await smtp.ehlo(hostname=name)
    except aiosmtplib.SMTPHeloError as error:
        raise _refused(Stage.EHLO, error) from None


def _refused(stage: Stage, error: aiosmtplib.SMTPResponseException) -> RefusedError:
    return RefusedError(outcome_at(stage, SMTPResponse(error.code, error.message)))
