"""Identifies the peer of a connection, for the limits per peer."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from relaypost_server.core.webhook_targets import Network

Address = IPv4Address | IPv6Address
UNKNOWN = "unknown"
_IPV6_SITE = 64
"""Bits: one customer of a network has all the addresses below them."""


class Peers:
    """Tells peers apart. A peer's own word about its address counts only where it is a trusted proxy."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def trusts(self, address: str) -> bool:
        """Whether this is a proxy of ours, which carries the callbacks of many peers."""
        found = _parsed(address)
        return found is not None and any(found in network for network in self._trusted)

    def behind(self, address: str, forwarded: Iterable[str]) -> str:
        """The key of the peer that made a request: of several addresses, the last that is no proxy of ours.

        `forwarded`: the lines of X-Forwarded-For.
        """
        if self.trusts(address):
            for hop in reversed(",".join(forwarded).split(",")):
                address = hop.strip()
                if not self.trusts(address):
                    break
        return key(address)


def key(address: str) -> str:
    """Under which a peer's connections are counted: its IPv4 address, or its IPv6 network of 64 bits."""
    found = _parsed(address)
    if found is None:
        return UNKNOWN
    if isinstance(found, IPv4Address):
        return str(found)
    return str(ip_network((found, _IPV6_SITE), strict=False))


def _parsed(address: str) -> Address | None:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found
