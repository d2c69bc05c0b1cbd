"""Posts to one URL over connections that are kept, and never twice.

It is written for one thing that HTTP libraries do not tell: whether the request
was on its way. Before that, a failure means "certainly not sent"; after it,
"maybe sent". It follows no redirect, keeps no cookie and repeats nothing.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.retry_after import parse_retry_after
from relaypost_server.providers._connecting import Host
from relaypost_server.providers._connection import Answer, Connection, CutShortError, NoAnswerError
from relaypost_server.providers._settings import ProviderSettings

KEPT_SECONDS: Final = 15.0
"""How long an unused connection is kept; providers close theirs after a minute or later."""
LONGEST_RETRY_AFTER: Final = 300.0
"""Seconds. A larger Retry-After would bench a provider on one header's word."""


class HttpClient:
    """Connections to one URL; at most `pool_size` of the settings at once."""

    def __init__(self, url: str, settings: ProviderSettings) -> None:
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        self.path = parts.path or "/"
        self.authority = parts.netloc.rpartition("@")[2]
        self._server_name = parts.hostname or ""
        self._host = Host(self._server_name, parts.port or (443 if tls else 80))
        self._tls = _tls_context() if tls else None
        self._connect_timeout = settings.connect_timeout_seconds
        self._pool_size = settings.pool_size
        self._open = 0
        self._freed = asyncio.Event()
        self._idle: list[tuple[Connection, float]] = []
        self._head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {self.authority}\r\nUser-Agent: relaypost\r\n"
            "Accept: application/json\r\nAccept-Encoding: identity\r\n"
        )

    async def post(self, headers: str, body: bytes, *, timeout: float) -> Answer | Outcome:
        """Posts once, within `timeout` seconds. An Outcome where there is no answer to classify.

        `headers`: those beside the usual ones, as `header_lines` writes them.
        """
        end = time.monotonic() + timeout
        try:
            connection = self._kept() or await self._connection(min(timeout, self._connect_timeout))
        except OSError as error:  # Also TimeoutError, and whatever is wrong with TLS.
            return Outcome(kind=Kind.UNREACHABLE, detail=f"not connected ({_name(error)})")
        try:
            head = f"{self._head}{headers}Content-Length: {len(body)}\r\n\r\n"
            return await connection.exchange(head.encode("latin-1") + body, timeout=end - time.monotonic())
        except (NoAnswerError, OSError) as error:
            return _lost(error)
        finally:
            self._give_back(connection)

    async def close(self) -> None:
        while self._idle:
            self._drop(self._idle.pop()[0])

    def _kept(self) -> Connection | None:
        """The connection that was used last, if it is still good."""
        now = time.monotonic()
        while self._idle:
            connection, since = self._idle.pop()
            if connection.reusable and now - since < KEPT_SECONDS:
                return connection
            self._drop(connection)
        return None

    async def _connection(self, timeout: float) -> Connection:
        """A new connection, or the first that is given back where there is no room for one. Raises OSError."""
        async with asyncio.timeout(timeout):
            while self._open >= self._pool_size:
                self._freed.clear()
                await self._freed.wait()
                kept = self._kept()
                if kept is not None:
                    return kept
            self._open += 1
            try:
                return await self._connect()
            except BaseException:
                self._open -= 1
                raise

    def _give_back(self, connection: Connection) -> None:
        if connection.reusable:
            self._idle.append((connection, time.monotonic()))
            self._freed.set()
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        connection.abort()
        self._open -= 1
        self._freed.set()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        connected = await self._host.connect()
        _, connection = await loop.create_connection(
            Connection,
            sock=connected,
            ssl=self._tls,
            server_hostname=self._server_name if self._tls else None,
        )
        return connection


def _lost(error: NoAnswerError | OSError) -> Outcome:
    """What it means that an answer did not come whole: the request may have reached the provider."""
    match error:
        case CutShortError(status=status):
            kind = Kind.ACCEPTED if 200 <= status < 300 else Kind.UNCONFIRMED
            return Outcome(kind=kind, detail=f"HTTP {status}, the answer was cut short")
        case NoAnswerError():
            return Outcome(kind=Kind.UNCONFIRMED, detail=f"the answer is of no use: {error}")
        case OSError():
            return Outcome(kind=Kind.UNCONFIRMED, detail=f"no answer after the request was written ({_name(error)})")


def header_lines(headers: Mapping[str, str]) -> str:
    """The headers as they stand in a request."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


def _name(error: OSError) -> str:
    return "time-out" if isinstance(error, TimeoutError) else type(error).__name__


@lru_cache(maxsize=1)
def _tls_context() -> ssl.SSLContext:
    """The system's certificates, or those of SSL_CERT_FILE; loading them takes 30 ms."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def retry_after(answer: Answer) -> float | None:
    """Seconds that the provider asked for, if it did."""
    header = answer.headers.get("retry-after", "")
    return parse_retry_after(header, datetime.now(UTC), longest=LONGEST_RETRY_AFTER)


def lost_answer(answer: Answer) -> Outcome:
    """A success that does not say what succeeded: it may come from anybody in between."""
    return Outcome(kind=Kind.UNCONFIRMED, detail=f"HTTP {answer.status}, the answer makes no sense")
