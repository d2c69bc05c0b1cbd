"""Looks up the names of endpoints, and lets no address through that is not allowed."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from threading import Thread

from aiohttp.abc import AbstractResolver, ResolveResult

from relaypost_server.core.webhook_targets import TargetPolicy

LOOKUPS = 8
"""Look-ups at once. Those of names that callers chose have threads of their own: one that hangs must not hold up a
provider's, nor the end of the process."""

Lookup = Callable[[str, int, socket.AddressFamily], list[str]]


class ForbiddenAddressError(OSError):
    """The name, or the URL, leads to an address that is not allowed."""

    def __init__(self) -> None:
        super().__init__("the address is not allowed")


class CheckedResolver(AbstractResolver):
    """Every address of a name must be allowed: of several, the next try might take the one that is not."""

    def __init__(self, policy: TargetPolicy, lookup: Lookup | None = None) -> None:
        self._policy = policy
        self._lookup = lookup or look_up
        self._room = asyncio.Semaphore(LOOKUPS)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        async with self._room:
            found = await self._in_thread(host, port, family)
        if not all(self._policy.allows(address) for address in found):
            raise ForbiddenAddressError
        return [_result(host, port, address) for address in dict.fromkeys(found)]

    async def close(self) -> None:
        """Nothing has to be given back: what still hangs ends with the process."""

    async def _in_thread(self, host: str, port: int, family: socket.AddressFamily) -> list[str]:
        """The connector shields it, so that a time-out does not make room while the thread still runs."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()

        def look_up() -> None:
            try:
                found, error = self._lookup(host, port, family), None
            except Exception as failure:
                found, error = [], failure
            with contextlib.suppress(RuntimeError):  # The loop may be closed by now.
                loop.call_soon_threadsafe(_settle, answer, found, error)

        Thread(target=look_up, name="webhook-lookup", daemon=True).start()
        return await answer


def look_up(host: str, port: int, family: socket.AddressFamily) -> list[str]:
    """The addresses of a name, those of IPv6 with their zone. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)
    return [socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0] for *_, address in found]


def _settle(answer: "asyncio.Future[list[str]]", found: list[str], error: Exception | None) -> None:
    if answer.done():  # Whoever asked has gone.
        return
    if error is None:
        answer.set_result(found)
    else:
        answer.set_exception(error)


def _result(host: str, port: int, address: str) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
