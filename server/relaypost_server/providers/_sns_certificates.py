"""The certificates that SNS signs with: each is fetched once, and a flood of unknown names fetches few.

A message names its certificate before anything in it can be verified, so that a
fetch is what a stranger can cause. Known certificates never wait for a fetch.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

from cryptography.x509 import Certificate, load_pem_x509_certificate

from relaypost_server.core.ports import CallbackUnverifiedError
from relaypost_server.providers._connection import Answer, NoAnswerError
from relaypost_server.providers._http import route_to
from relaypost_server.providers._settings import ProxiedProviderSettings

FETCH_SECONDS = 5.0
LARGEST_ANSWER = 64 * 1024
"""Bytes of a certificate or of the answer to a confirmation."""
MOST_CERTIFICATES = 8
MOST_FETCHES = 4
"""At once."""
FETCHES_A_MINUTE = 30
FETCHES_A_MINUTE_PER_PEER = 5
MINUTE = 60.0
MISSING_SECONDS = 30.0
"""Seconds before a failed fetch of a certificate is repeated."""
MOST_MISSING = 256


class Fetcher(Protocol):
    """Gets what SNS has published."""

    async def fetch(self, url: str) -> bytes:
        """The body of a successful answer. Raises CallbackUnverifiedError."""
        ...


class HttpFetcher:
    """Fetches by the same way as messages are sent: through the proxy of the settings, with no credentials but its own.

    It follows no redirect: another host would be another's word.
    """

    def __init__(self, settings: ProxiedProviderSettings) -> None:
        self._settings = settings

    async def fetch(self, url: str) -> bytes:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                answer = await self._get(url)
        except (NoAnswerError, OSError) as error:  # Also TimeoutError, and whatever is wrong with TLS or the proxy.
            raise CallbackUnverifiedError(type(error).__name__) from error
        if answer.status != 200:
            raise CallbackUnverifiedError(f"HTTP {answer.status}")
        if len(answer.body) > LARGEST_ANSWER:
            raise CallbackUnverifiedError(f"larger than {LARGEST_ANSWER} bytes")
        return answer.body

    async def _get(self, url: str) -> Answer:
        route, path = route_to(url, self._settings)
        connection = await route.connect()
        head = f"GET {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nUser-Agent: relaypost\r\nConnection: close\r\n"
        try:
            return await connection.exchange(f"{head}\r\n".encode("ascii"), timeout=FETCH_SECONDS)
        finally:
            connection.abort()


class Certificates:
    """A cache of certificates and, for MISSING_SECONDS, of failed fetches."""

    def __init__(self, fetcher: Fetcher, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._fetcher = fetcher
        self._monotonic = monotonic
        self._known: dict[str, Certificate] = {}
        self._missing: dict[str, float] = {}
        """The monotonic time until which each URL is not fetched again."""
        self._running: dict[str, asyncio.Task[Certificate]] = {}
        self._begun: deque[tuple[float, str]] = deque()
        """When the fetches of the last minute began, and for which peers."""

    async def get(self, url: str, peer: str) -> Certificate:
        """The certificate, from memory where it is known. Raises CallbackUnverifiedError.

        `peer`: the sender of the callback; each peer has a limit of its own.
        """
        found = self._known.get(url)
        if found is not None:
            return found
        running = self._running.get(url)
        if running is None:
            self._check(url, peer)
            self._begun.append((self._monotonic(), peer))
            running = self._running[url] = asyncio.create_task(self._fetch(url))
        return await asyncio.shield(running)  # Shared with other callers.

    def _check(self, url: str, peer: str) -> None:
        now = self._monotonic()
        if self._missing.get(url, now) > now:
            raise CallbackUnverifiedError("the certificate could not be fetched a moment ago")
        while self._begun and now - self._begun[0][0] >= MINUTE:
            self._begun.popleft()
        of_peer = sum(1 for _, other in self._begun if other == peer)
        if len(self._running) >= MOST_FETCHES or len(self._begun) >= FETCHES_A_MINUTE:
            raise CallbackUnverifiedError("the limit of certificate fetches is reached")
        if of_peer >= FETCHES_A_MINUTE_PER_PEER:
            raise CallbackUnverifiedError("the limit of certificate fetches for this peer is reached")

    async def _fetch(self, url: str) -> Certificate:
        try:
            found = load_pem_x509_certificate(await self._fetcher.fetch(url))
        except (CallbackUnverifiedError, ValueError) as error:
            _bound(self._missing, MOST_MISSING)
            self._missing[url] = self._monotonic() + MISSING_SECONDS
            if isinstance(error, CallbackUnverifiedError):
                raise
            raise CallbackUnverifiedError("the certificate cannot be read") from None
        else:
            _bound(self._known, MOST_CERTIFICATES)
            self._known[url] = found
            return found
        finally:
            del self._running[url]


def _bound(kept: dict[str, Any], most: int) -> None:
    """Makes room for one more by forgetting the oldest."""
    while len(kept) >= most:
        del kept[next(iter(kept))]
