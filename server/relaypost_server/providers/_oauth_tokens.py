"""Access tokens of OAuth 2.0: one fetch serves all waiting callers, a token is kept while valid and renewed early."""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import orjson
import structlog

RENEWED_AHEAD_SECONDS: Final = 300.0
"""A token is renewed this long before its end, or a fifth of its life if that is less."""
NOT_USED_SECONDS: Final = 10.0
"""A token is not used this long before its end, or a twentieth of its life if that is less: a log-in takes time."""
UNKNOWN_LIFE_SECONDS: Final = 300.0
"""How long a token without `expires_in` is kept."""
TRIED_AGAIN_SECONDS: Final = 30.0
"""How long after a failed early renewal the next one begins."""
LONGEST_TOKEN: Final = 64 * 1024
"""Bytes that are read of a file or a command's output."""
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750, section 2.1."""

log = structlog.get_logger("relaypost.smtp")


class TokenError(Exception):
    """There is no access token. The text is the gateway's own and holds no secret.

    `passing`: the token endpoint is out of reach or overloaded, so a later try may succeed.
    """

    def __init__(self, why: str, *, passing: bool = False) -> None:
        super().__init__(why)
        self.passing = passing


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An access token."""

    value: str = field(repr=False)
    seconds: float = UNKNOWN_LIFE_SECONDS
    """How long it is valid from now on. 0: it is not kept."""


class TokenSource(Protocol):
    """Where tokens come from."""

    way: str
    """A description for operators."""
    cure: str
    """What an operator should check if there is no token."""

    async def fetch(self) -> Token:
        """Fetches a valid token. Raises TokenError."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Held:
    value: str = field(repr=False)
    renew_at: float
    end: float


class Tokens:
    """Keeps the token of a source. Times are monotonic, in seconds."""

    def __init__(self, source: TokenSource, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.source = source
        self._monotonic = monotonic
        self._held: _Held | None = None
        self._fetching: asyncio.Task[str] | None = None
        self._not_before = float("-inf")

    async def get(self) -> tuple[str, bool]:
        """A token, and whether it was kept from an earlier time. Raises TokenError."""
        held, now = self._held, self._monotonic()
        if held is None or now >= held.end:
            return await asyncio.shield(self._fetch()), False
        if now >= max(held.renew_at, self._not_before):
            self._fetch()
        return held.value, True

    def discard(self, value: str) -> None:
        """Forgets a token that a server refused."""
        if self._held is not None and self._held.value == value:
            self._held = None

    async def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
        await self.source.close()

    def _fetch(self) -> asyncio.Task[str]:
        """The fetch that runs, or a new one."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._renew())
            self._fetching.add_done_callback(self._fetched)
        return self._fetching

    def _fetched(self, fetching: asyncio.Task[str]) -> None:
        self._fetching = None
        error = None if fetching.cancelled() else fetching.exception()
        if error is not None:  # Those who wait for it are told, but all may have given up.
            self._not_before = self._monotonic() + TRIED_AGAIN_SECONDS
            why = str(error) if isinstance(error, TokenError) else type(error).__name__
            log.warning("no access token", source=self.source.way, why=why, fix=self.source.cure)

    async def _renew(self) -> str:
        token = await self.source.fetch()
        if token.seconds > 0:
            now, life = self._monotonic(), token.seconds
            self._held = _Held(
                token.value,
                renew_at=now + life - min(RENEWED_AHEAD_SECONDS, life / 5),
                end=now + life - min(NOT_USED_SECONDS, life / 20),
            )
        return token.value


def read_token(text: bytes) -> Token:
    """Reads a token that stands alone, or in JSON as `access_token` with `expires_in`. Raises TokenError."""
    line = text.decode("utf-8", "replace").strip()
    return token_of(_object(line)) if line.startswith("{") else token_of({"access_token": line})


def token_of(answer: dict[str, Any]) -> Token:
    """The token in an answer of RFC 6749, section 5.1. Raises TokenError."""
    value, seconds = answer.get("access_token"), answer.get("expires_in", UNKNOWN_LIFE_SECONDS)
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise TokenError("what came is not an access token")
    try:
        return Token(value=value, seconds=max(1.0, float(seconds)))
    except (TypeError, ValueError):
        return Token(value=value)


def _object(text: str) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
