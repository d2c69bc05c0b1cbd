"""The name that EHLO gives (RFC 5321, sections 2.3.5 and 4.1.3): the host's full name, or its address.

Servers refuse a name without a domain, such as a container's id.
"""

import asyncio
import re
import socket
from ipaddress import IPv6Address, ip_address
from typing import Final

from aiosmtplib import SMTP

LOOK_UP_SECONDS: Final = 1.0
_FULL_NAME = re.compile(r"(?=.{4,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]", re.I)
_OF_NO_HOST = ("localhost", "localdomain")


class EhloName:
    """Finds the EHLO name of each connection."""

    def __init__(self, given: str | None) -> None:
        """`given` is the name from the settings. None: the host's full name, or else its address, is used."""
        self._given = given
        self._full_name: str | None = None

    async def of(self, smtp: SMTP) -> str:
        """The name for a connection that is open."""
        if self._given is not None:
            return self._given
        if self._full_name is None:
            self._full_name = await full_name(socket.gethostname())
        return self._full_name or address_literal(smtp.get_transport_info("sockname")[0])


async def full_name(host: str) -> str:
    """The full name of a host, as DNS or its own tables know it; "" where it has none."""
    if is_full_name(host):
        return host
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS):
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME)
    except OSError:
        return ""
    return next((name for *_, name, _ in found if is_full_name(name)), "")


def is_full_name(name: str) -> bool:
    """Whether the name has a domain, and not a local one such as localdomain."""
    return _FULL_NAME.fullmatch(name) is not None and not name.lower().endswith(_OF_NO_HOST)


def address_literal(address: str) -> str:
    """An address of this host as EHLO gives it: "[192.0.2.1]", "[IPv6:2001:db8::1]"."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        return f"[{found.ipv4_mapped}]" if found.ipv4_mapped else f"[IPv6:{found}]"
    return f"[{found}]"
