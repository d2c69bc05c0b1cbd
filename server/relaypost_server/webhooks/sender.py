"""Posts webhooks over aiohttp, once each."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp

from relaypost_server.core.retry_after import parse_retry_after
from relaypost_server.core.webhook_retry import LONGEST_RETRY_AFTER, Answer
from relaypost_server.core.webhook_targets import TargetPolicy
from relaypost_server.webhooks.resolver import CheckedResolver, ForbiddenAddressError, Lookup
from relaypost_server.webhooks.urls import UrlError, read_url

CONNECT_SECONDS = 10.0
KEPT_SECONDS = 15.0
"""How long an unused connection is kept."""
LONGEST_ANSWER = 64 * 1024
"""Bytes. What an endpoint says is of no interest; a short answer is read so that its connection can be kept."""
READ_SECONDS = 1.0
"""How long that may take."""
_HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "relaypost-webhooks",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
}


class HttpWebhookSender:
    """A `core.webhook_ports.WebhookSender`. To be made where an event loop runs.

    It follows no redirect, keeps no cookie, uses no proxy and repeats nothing.
    """

    def __init__(
        self,
        policy: TargetPolicy,
        *,
        timeout: float,
        lookup: Lookup | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`timeout`: seconds for all of an attempt."""
        self._policy = policy
        self._timeout = timeout
        self._resolver = CheckedResolver(policy, lookup)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=self._resolver,
                socket_factory=self._socket,
                ssl=tls or True,  # aiohttp has loaded the system's certificates, which takes 20 ms.
                limit=0,  # The flow limits how much is under way.
                keepalive_timeout=KEPT_SECONDS,
            ),
            timeout=aiohttp.ClientTimeout(total=timeout, connect=min(CONNECT_SECONDS, timeout)),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._session.close()
        await self._resolver.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            target = read_url(url, self._policy)
            async with self._session.post(
                target, headers={**_HEADERS, **headers}, data=body, allow_redirects=False
            ) as response:
                await _read(response)
                return _answer(response)
        except UrlError as error:
            return Answer(detail=f"the URL {error}")
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError, ValueError) as error:
            return Answer(detail=self._why(error))

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        """The socket of each connection passes here with the very address that it will connect to."""
        family, kind, protocol, _, address = info
        if not self._policy.allows(address[0]):
            raise ForbiddenAddressError
        return socket.socket(family, kind, protocol)

    def _why(self, error: BaseException) -> str:
        """In words that hold nothing of the URL or of what the endpoint said."""
        if _caused_by(error, ForbiddenAddressError):
            return "the address is not allowed"
        if isinstance(error, TimeoutError):
            return f"no answer within {self._timeout:g} s"
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return "the name cannot be looked up"
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return "its certificate is not valid"
        if isinstance(error, aiohttp.ClientConnectorError):
            return f"not connected ({type(error.os_error).__name__})"
        return f"no answer of use ({type(error).__name__})"


async def _read(response: aiohttp.ClientResponse) -> None:
    """The rest of the answer, up to a bound. Its status has been told: what becomes of the rest changes nothing."""
    left = LONGEST_ANSWER
    with contextlib.suppress(aiohttp.ClientError, OSError):  # Also TimeoutError.
        async with asyncio.timeout(READ_SECONDS):
            while left > 0 and (part := await response.content.read(left)):
                left -= len(part)
    if not response.content.at_eof() or response.content.exception():
        response.close()


def _answer(response: aiohttp.ClientResponse) -> Answer:
    header = response.headers.get("Retry-After", "")
    return Answer(
        status=response.status,
        detail="" if 200 <= response.status < 300 else f"HTTP {response.status}",
        retry_after=parse_retry_after(header, datetime.now(UTC), longest=LONGEST_RETRY_AFTER),
    )


def _caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    """aiohttp and aiohappyeyeballs wrap what went wrong in their own exceptions."""
    while error is not None:
        if isinstance(error, kind) or isinstance(getattr(error, "os_error", None), kind):
            return True
        error = error.__cause__ or error.__context__
    return False
