"""Posts to one URL over connections that are kept, and never twice.

It is written for one thing that HTTP libraries do not tell: whether the request
was on its way. Before that, a failure means "certainly not sent"; after it,
"maybe sent". It follows no redirect, keeps no cookie and repeats nothing.
"""

import asyncio
import ssl
import time
from collections.abc import Container, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.retry_after import parse_retry_after
from relaypost_server.providers._attempt_time import AttemptTime, no_room
from relaypost_server.providers._connection import Answer, Connection, CutShortError, NoAnswerError, TimeLimitError
from relaypost_server.providers._places import Places
from relaypost_server.providers._route import ProxyError, Route
from relaypost_server.providers._settings import ProxiedProviderSettings

KEPT_SECONDS: Final = 15.0
"""How long an unused connection is kept; providers close theirs after a minute or later."""
LONGEST_RETRY_AFTER: Final = 300.0
"""Seconds. A larger Retry-After would bench a provider on one header's word."""


_NO_ANSWER: Final = "no answer after the request was written"


class HttpClient:
    """Connections to one URL; at most `pool_size` of the settings at once."""

    def __init__(
        self, url: str, settings: ProxiedProviderSettings, *, accepts: Container[int] = range(200, 300)
    ) -> None:
        """`accepts`: the statuses that say that a message was accepted, even where the rest of the answer is lost."""
        self._route, self.path = route_to(url, settings)
        self.authority = urlsplit(url).netloc.rpartition("@")[2]
        self._accepts = accepts
        self._connect_timeout = settings.connect_timeout_seconds
        self._places = Places(settings.pool_size)
        self._idle: list[tuple[Connection, float]] = []
        self._head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {self.authority}\r\nUser-Agent: relaypost\r\n"
            "Accept: application/json\r\nAccept-Encoding: identity\r\n"
        )

    async def post(self, headers: str, body: bytes, attempt: AttemptTime) -> Answer | Outcome:
        """Posts once, within the attempt's time. An Outcome where there is no answer to classify.

        `headers`: those beside the usual ones, as `header_lines` writes them.
        """
        if not self._places.take() and (no_place := await self._wait(attempt)):
            return no_place
        connection: Connection | Outcome | None = self._kept()
        try:
            if connection is None:
                connection = await self._connected(attempt)
            if isinstance(connection, Outcome):
                return connection
            return await self._exchange(connection, headers, body, attempt)
        finally:
            self._give_back(connection)

    async def close(self) -> None:
        while self._idle:
            self._idle.pop()[0].abort()

    async def _wait(self, attempt: AttemptTime) -> Outcome | None:
        """Waits for a place as long as connecting may take; the outcome where none becomes free."""
        began, limit = time.monotonic(), min(self._connect_timeout, attempt.left_to_write)
        taken = await self._places.wait(limit)
        attempt.waited(began)
        return None if taken else no_room("no free connection", limit)

    def _kept(self) -> Connection | None:
        """The connection that was used last, if it is still good."""
        now = time.monotonic()
        while self._idle:
            connection, since = self._idle.pop()
            if connection.reusable and now - since < KEPT_SECONDS:
                return connection
            connection.abort()
        return None

    async def _connected(self, attempt: AttemptTime) -> Connection | Outcome:
        """A new connection, made in time to write the request."""
        own = self._connect_timeout
        limit = min(own, attempt.left_to_write)
        try:
            async with asyncio.timeout(limit) as scope:
                return await self._route.connect()
        except ProxyError as error:
            return Outcome(kind=Kind.UNREACHABLE, detail=f"not connected: {error}", alert=error.refused)
        except OSError as error:  # Also TimeoutError, and whatever is wrong with TLS.
            if scope.expired() and limit < own:
                return attempt.too_late("not connected")
            return Outcome(kind=Kind.UNREACHABLE, detail=f"not connected ({_name(error)})")

    async def _exchange(
        self, connection: Connection, headers: str, body: bytes, attempt: AttemptTime
    ) -> Answer | Outcome:
        seconds = attempt.left_for_answer()
        if seconds is None:
            return attempt.too_late()
        head = f"{self._head}{headers}Content-Length: {len(body)}\r\n\r\n"
        try:
            return await connection.exchange(head.encode("latin-1") + body, timeout=seconds)
        except TimeLimitError:
            return attempt.over(Kind.UNCONFIRMED, f"{_NO_ANSWER} (time-out)")
        except (NoAnswerError, OSError) as error:
            return self._lost(error)

    def _lost(self, error: NoAnswerError | OSError) -> Outcome:
        """What it means that an answer did not come whole: the request may have reached the provider."""
        match error:
            case CutShortError(status=status):
                kind = Kind.ACCEPTED if status in self._accepts else Kind.UNCONFIRMED
                return Outcome(kind=kind, detail=f"HTTP {status}, the answer was cut short")
            case NoAnswerError():
                return Outcome(kind=Kind.UNCONFIRMED, detail=f"the answer is of no use: {error}")
            case OSError():
                return Outcome(kind=Kind.UNCONFIRMED, detail=f"{_NO_ANSWER} ({_name(error)})")

    def _give_back(self, connection: Connection | Outcome | None) -> None:
        if isinstance(connection, Connection):
            if connection.reusable:
                self._idle.append((connection, time.monotonic()))
            else:
                connection.abort()
        self._places.give_back()


def route_to(url: str, settings: ProxiedProviderSettings) -> tuple[Route, str]:
    """The way to a URL's host, and what is asked for there."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if tls else 80)
    route = Route(host, port, tls=tls_context if tls else None, proxy=settings.proxy_for(url))
    return route, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def header_lines(headers: Mapping[str, str]) -> str:
    """The headers as they stand in a request."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


def _name(error: OSError) -> str:
    return "time-out" if isinstance(error, TimeoutError) else type(error).__name__


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """The system's certificates, or those of SSL_CERT_FILE; loading them takes 30 ms."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def retry_after(answer: Answer) -> float | None:
    """Seconds that the provider asked for, if it did."""
    header = answer.headers.get("retry-after", "")
    return parse_retry_after(header, datetime.now(UTC), longest=LONGEST_RETRY_AFTER)
