"""Through which proxy a host is reached: what HTTPS_PROXY and NO_PROXY say, as curl reads them.

Nothing that is raised or shown holds the user or the password of a proxy.
"""

import re
from base64 import b64encode
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import unquote, urlsplit

from relaypost_server.core.urls import check_proxy_url

_SEPARATORS = re.compile(r"[\s,]+")
_PORT = re.compile(r"(?P<host>[^:]+|\[[^\]]+\]):(?P<port>\d{1,5})")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy that opens tunnels by CONNECT (RFC 9110, section 9.3.6)."""

    host: str
    port: int
    tls: bool
    """The way to the proxy is encrypted as well."""
    authorization: str = field(default="", repr=False)
    """The value of Proxy-Authorization; "" for none."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


def parse_proxy(url: str) -> Proxy:
    """The proxy at http[s]://[user:password@]host[:port]; without a scheme it is http. Raises ValueError."""
    text = url if "://" in url else f"http://{url}"
    check_proxy_url(text)
    parts = urlsplit(text)
    user, _, secret = parts.netloc.rpartition("@")[0].partition(":")
    pair = f"{unquote(user)}:{unquote(secret)}".encode()
    return Proxy(
        host=parts.hostname or "",
        port=parts.port or _PORTS[parts.scheme],
        tls=parts.scheme == "https",
        authorization=f"Basic {b64encode(pair).decode()}" if user else "",
    )


def bypasses(host: str, port: int, no_proxy: str) -> bool:
    """Whether NO_PROXY exempts this host.

    `no_proxy`: names separated by commas or spaces: `*` for all; a name, also with `.` or `*.` before it, for itself
    and all below it; an address or a network such as 10.0.0.0/8; each with `:port` for that port alone.
    """
    return any(
        _exempts(entry.lower(), host.lower().rstrip("."), port) for entry in _SEPARATORS.split(no_proxy) if entry
    )


def _exempts(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    found = _PORT.fullmatch(entry)
    if found is not None:
        if int(found["port"]) != port:
            return False
        entry = found["host"]
    address = _address(host)
    if address is not None:
        return _holds(entry, address)
    name = entry.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None


def _holds(entry: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return address in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False
