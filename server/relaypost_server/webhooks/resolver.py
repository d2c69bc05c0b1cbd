"""Looks up the names of endpoints, and lets no address through that is not allowed."""

import socket
from collections.abc import Callable

from aiohttp.abc import AbstractResolver, ResolveResult

from relaypost_server.core.webhook_targets import TargetPolicy
from relaypost_server.names import NameResolver

LOOKUPS = 32
"""Look-ups at once. Callers choose the names, so these look-ups have threads of their own: however many of them hang,
a provider's name is found."""

Lookup = Callable[[str, int, socket.AddressFamily], list[str]]


class ForbiddenAddressError(OSError):
    """The name, or the URL, leads to an address that is not allowed."""

    def __init__(self) -> None:
        super().__init__("the address is not allowed")


class CheckedResolver(AbstractResolver):
    """Every address of a name must be allowed: of several, the next try might take the one that is not."""

    def __init__(self, policy: TargetPolicy, lookup: Lookup | None = None) -> None:
        self._policy = policy
        self._names = NameResolver(lookup or look_up, purpose="webhooks", most=LOOKUPS)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._names.find(host, port, family)
        if not all(self._policy.allows(address) for address in found):
            raise ForbiddenAddressError
        return [_result(host, port, address) for address in dict.fromkeys(found)]

    async def close(self) -> None:
        """Nothing has to be given back: what still hangs ends with the process."""


def look_up(host: str, port: int, family: socket.AddressFamily) -> list[str]:
    """The addresses of a name, those of IPv6 with their zone. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)
    return [socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0] for *_, address in found]


def _result(host: str, port: int, address: str) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
