"""Checks the URLs of settings. Nothing that is raised holds any part of one: it may be a secret."""

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qs, urlsplit

DATABASE_SCHEMES = ("postgresql", "postgres")
_HOST_NAME = re.compile(r"[^\s/@:\\-][^\s/@:\\]*")
"""Also an international one."""
_DATABASE_CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "primary", "standby", "read-write", "read-only", "prefer-standby"),
}
"""Options that have only these values."""


def check_database_url(url: str) -> None:
    """Raises ValueError where no PostgreSQL can be meant, with the reason."""
    parts = _split(url)
    if parts.scheme not in DATABASE_SCHEMES:
        raise ValueError("is not the URL of a PostgreSQL: it must begin with postgresql://")
    if parts.fragment:
        raise ValueError("has a # in it: write special characters of a password as %23 and the like")
    for place in parts.netloc.rpartition("@")[2].split(","):
        _check_port(place)
    options = parse_qs(parts.query, keep_blank_values=True)
    for name, values in options.items():
        if values[-1] not in _DATABASE_CHOICES.get(name, values):
            raise ValueError(f"has an option {name} that is not one of {', '.join(_DATABASE_CHOICES[name])}")


def check_endpoint(url: str) -> None:
    """Raises ValueError where it is no URL of HTTP without a query."""
    parts = _split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("is not a URL of the form https://host[:port][/path]")
    if "@" in parts.netloc:
        raise ValueError("holds a user or a password, which are not sent: leave them out")
    _check_port(parts.netloc)


def check_proxy_url(url: str) -> None:
    """Raises ValueError where it is no URL of a proxy."""
    parts = _split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("is not a proxy of the form http://[user:password@]host[:port]")
    if parts.path not in ("", "/"):
        raise ValueError("has a path, which a proxy has not")
    _check_port(parts.netloc.rpartition("@")[2])


def check_host(name: str) -> None:
    """Raises ValueError where it is no name and no address of a host."""
    if not _HOST_NAME.fullmatch(name) and not _is_address(name):
        raise ValueError("is not the name of a host: it takes no scheme, no port and no path")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _split(url: str) -> SplitResult:
    if not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("is not a URL: it holds a space, a backslash or a control character")
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError("is not a URL") from None


def _check_port(place: str) -> None:
    """Of host:port, where an IPv6 address is in brackets."""
    port = place.rpartition("]")[2].partition(":")[2] if ":" in place else ""
    if port and not (port.isdecimal() and port.isascii() and 0 < int(port) < 65536):
        raise ValueError("has a port that is not a number from 1 to 65535")
