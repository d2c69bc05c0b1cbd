"""SMTP connections that are kept for the next message."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiosmtplib
from aiosmtplib import SMTP, SMTPResponse

from relaypost_server.providers._attempt_time import AttemptTime, no_room
from relaypost_server.providers._places import Places
from relaypost_server.providers._smtp_carried import CarriedMessages
from relaypost_server.providers._smtp_connecting import Opener, hang_up
from relaypost_server.providers._smtp_meanings import RefusedError
from relaypost_server.providers._smtp_replies import CLOSING, status_of

CHECK_SECONDS = 1.0
"""How long a kept connection may take to answer RSET, or a third of the time to write where that is less."""


@dataclass(slots=True, eq=False)
class Session:
    """A connection that is ready for MAIL."""

    smtp: SMTP
    kept: bool = False
    """It carried another message before, so the server may have closed it since."""
    carried: int = 0
    """How many MAIL commands the server accepted on it."""


class Pool:
    """At most `size` connections to one server; the one used last is used next."""

    def __init__(self, opener: Opener, *, size: int, idle_seconds: float, connect_timeout: float) -> None:
        """`connect_timeout`: the longest wait for a connection, in seconds."""
        self._opener = opener
        self._idle_seconds = idle_seconds
        self._connect_timeout = connect_timeout
        self._places = Places(size)
        self._idle: list[tuple[Session, float]] = []
        self._carried = CarriedMessages()

    @asynccontextmanager
    async def session(self, attempt: AttemptTime) -> AsyncIterator[Session]:
        """Waits for a place and yields a connection for one message. Raises RefusedError, SMTPException or OSError."""
        await self._place(attempt)
        try:
            async with self._session(attempt) as session:
                yield session
        finally:
            self._places.give_back()

    async def renew(self, session: Session, attempt: AttemptTime) -> None:
        """Replaces a kept connection that the server closed by a new one."""
        hang_up(session.smtp)
        session.smtp = await self._opener.open(attempt)
        session.kept, session.carried = False, 0

    def began(self, session: Session) -> None:
        """Records that the server accepted MAIL."""
        session.carried += 1
        self._carried.took(session.carried)

    def closed(self, session: Session, reply: SMTPResponse) -> None:
        """Records that the server closed a kept connection with 421 instead of taking another message."""
        self._carried.closed_after(session.carried, status_of(reply))

    async def close(self) -> None:
        self._forget_idle()
        await self._opener.close()

    async def _place(self, attempt: AttemptTime) -> None:
        began, limit = time.monotonic(), min(self._connect_timeout, attempt.left_to_write)
        if not await self._places.wait(limit):
            raise RefusedError(no_room("no free connection", limit))
        attempt.waited(began)

    @asynccontextmanager
    async def _session(self, attempt: AttemptTime) -> AsyncIterator[Session]:
        session = await self._reuse(attempt) or Session(await self._opener.open(attempt))
        try:
            yield session
        except RefusedError:
            self._keep(session)
            raise
        except BaseException:
            hang_up(session.smtp)
            raise
        self._keep(session)

    def _keep(self, session: Session) -> None:
        if self._carried.decide_to_close(session.carried):
            hang_up(session.smtp)
        elif session.smtp.is_connected:
            session.kept = True
            self._idle.append((session, time.monotonic()))

    async def _reuse(self, attempt: AttemptTime) -> Session | None:
        """The connection that was used last if it answers RSET, else None. Older connections are not tried.

        RSET also clears a transaction that a refusal left open. Its time does not count against the provider.
        """
        began, limit = time.monotonic(), min(CHECK_SECONDS, attempt.left_to_write / 3)
        if limit <= 0:
            raise TimeoutError
        session = self._last_used()
        if session is None:
            return None
        try:
            await session.smtp.rset(timeout=limit)
        except aiosmtplib.SMTPException as error:
            hang_up(session.smtp)
            if isinstance(error, aiosmtplib.SMTPResponseException) and error.code == CLOSING:
                self.closed(session, SMTPResponse(error.code, error.message))
            if isinstance(error, TimeoutError):
                self._forget_idle()  # Most likely the network dropped the older connections too.
            attempt.waited(began)
            return None
        except BaseException:
            hang_up(session.smtp)
            raise
        return session

    def _forget_idle(self) -> None:
        while self._idle:
            hang_up(self._idle.pop()[0].smtp)

    def _last_used(self) -> Session | None:
        """The connection that was used last and is not idle for too long; the others are closed."""
        now = time.monotonic()
        while self._idle:
            session, since = self._idle.pop()
            if now - since < self._idle_seconds and session.smtp.is_connected:
                return session
            hang_up(session.smtp)
        return None
