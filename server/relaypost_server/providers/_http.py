"""One HTTP request, answered or classified by how far it got.

The flag that aiohttp raises when the request has been written is what tells
"certainly not sent" from "maybe sent". Nothing here ever sends a request twice:
aiohttp repeats only idempotent methods, and redirects are not followed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.providers._settings import ProviderSettings

LONGEST_ANSWER = 1024 * 1024
"""Bytes. No provider's answer is nearly as long; what is longer is no answer."""
LONGEST_RETRY_AFTER = 300.0
"""Seconds. A larger Retry-After would bench a provider on one header's word."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """The body as a JSON object, or an empty one where it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def retry_after(self) -> float | None:
        """Seconds from the Retry-After header; see `parse_retry_after`."""
        return parse_retry_after(self.headers.get("Retry-After", ""), datetime.now(UTC))


@dataclass(slots=True)
class _Progress:
    written: bool = False


class HttpClient:
    """Connections to one provider."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: URL, *, headers: Mapping[str, str], body: bytes, timeout: float) -> Answer | Outcome:
        """Posts once. An Outcome where there is no whole answer to classify."""
        progress = _Progress()
        try:
            async with self._open().post(
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=self._timeout(timeout),
                trace_request_ctx=progress,
            ) as response:
                return await _read(response)
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError.
            return _lost(error, written=progress.written)

    async def get(self, url: URL, *, headers: Mapping[str, str], timeout: float) -> Answer | Outcome:
        """Asks once; for checks, which send nothing."""
        try:
            async with self._open().get(
                url, headers=headers, allow_redirects=False, timeout=self._timeout(timeout)
            ) as response:
                return await _read(response)
        except (aiohttp.ClientError, OSError) as error:
            return _lost(error, written=False)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_mark_written)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._settings.pool_size),
                trace_configs=[trace],
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "relaypost", "Accept-Encoding": "identity"},
                auto_decompress=False,
            )
        return self._session

    def _timeout(self, total: float) -> aiohttp.ClientTimeout:
        connect = min(self._settings.connect_timeout_seconds, total)
        return aiohttp.ClientTimeout(total=total, connect=connect, sock_connect=connect)


async def _mark_written(_session: object, context: Any, _params: object) -> None:
    if context.trace_request_ctx is not None:
        context.trace_request_ctx.written = True


async def _read(response: aiohttp.ClientResponse) -> Answer | Outcome:
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > LONGEST_ANSWER:
                return Outcome(kind=Kind.UNCONFIRMED, detail=f"HTTP {response.status}, the answer does not end")
    except aiohttp.ClientPayloadError:
        if 200 <= response.status < 300:
            return Outcome(kind=Kind.ACCEPTED, detail=f"HTTP {response.status}, the answer was cut short")
        return Outcome(kind=Kind.UNCONFIRMED, detail=f"HTTP {response.status}, the answer was cut short")
    return Answer(response.status, response.headers, bytes(body))


def _lost(error: Exception, *, written: bool) -> Outcome:
    """There is no answer: what matters is whether the request was on its way."""
    what = "time-out" if isinstance(error, TimeoutError) else type(error).__name__
    if written:
        return Outcome(kind=Kind.UNCONFIRMED, detail=f"no answer after the request was written ({what})")
    return Outcome(kind=Kind.UNREACHABLE, detail=f"not connected ({what})")


def parse_retry_after(value: str, now: datetime) -> float | None:
    """Seconds to wait, from 0 to LONGEST_RETRY_AFTER; None where the header says nothing usable.

    A number of seconds or an HTTP date (RFC 9110, section 10.2.3).
    """
    try:
        seconds = float(int(value))
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - now).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(seconds, LONGEST_RETRY_AFTER) if seconds >= 0 else None


def lost_answer(answer: Answer) -> Outcome:
    """A success that does not say what succeeded: it may come from anybody in between."""
    return Outcome(kind=Kind.UNCONFIRMED, detail=f"HTTP {answer.status}, the answer makes no sense")
