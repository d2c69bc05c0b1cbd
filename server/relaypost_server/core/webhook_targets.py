"""Which addresses webhooks may go to: a caller must not reach through the gateway what it cannot reach itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Raises ValueError for what is no network such as 10.0.0.0/8."""
    return tuple(ip_network(text) for text in texts)


_NEVER = networks(
    [
        "169.254.169.254/32",  # Credentials of the machine at AWS, Google Cloud, Azure, and most others.
        "169.254.170.0/24",  # Those of a container at AWS.
        "168.63.129.16/32",  # Azure's own, though it looks public.
        "100.100.100.200/32",  # Alibaba Cloud.
        "192.0.0.192/32",  # Oracle Cloud.
        "fd00:ec2::/32",  # AWS by IPv6.
        "fd20:ce::254/128",  # Google Cloud by IPv6.
    ]
)
"""Metadata services: they give away credentials, so that no setting opens them."""
_SPECIAL = networks(
    [
        # IANA's special-purpose address registries, https://www.iana.org/assignments/iana-ipv4-special-registry:
        # the standard library's own table depends on its version.
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        # Of IPv6, what is special within the addresses that are handed out (2000::/3): protocol assignments with
        # Teredo among them, documentation, and 6to4, which carries an IPv4 address along.
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
    ]
)
_HANDED_OUT = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
"""Translated to the IPv4 address in its last 32 bits (RFC 6052): how a machine with IPv6 alone sees the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPolicy:
    """What an endpoint's URL may be."""

    ports: Sequence[range] = (range(443, 444),)
    http: bool = False
    """Whether http is as good as https."""
    networks: Sequence[Network] = ()
    """What may be reached although it is not public."""

    def allows_port(self, port: int) -> bool:
        return any(port in some for some in self.ports)

    def allows(self, address: str) -> bool:
        """Whether a connection to this address may be made."""
        try:
            found = _plain(ip_address(address))
        except ValueError:
            return False
        if _within(found, _NEVER):
            return False
        return _within(found, self.networks) or _is_public(found)


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for; others as they are. Raises ValueError for one with a zone."""
    if isinstance(address, IPv4Address):
        return address
    if address.scope_id is not None:
        raise ValueError("an address with a zone is local")
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _HANDED_OUT:
        return False
    return address.is_global and not address.is_multicast and not _within(address, _SPECIAL)


def _within(address: Address, some: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in some)
