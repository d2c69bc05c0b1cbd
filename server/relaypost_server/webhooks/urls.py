"""Reads the URL of an endpoint, by the parser that will also make the request."""

import re
from ipaddress import ip_address

from yarl import URL

from relaypost_server.core.webhook_targets import TargetPolicy

LONGEST = 2048
"""Characters."""
_UNFIT = re.compile(r"[\s\\\x00-\x1f\x7f-\x9f]")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


class UrlError(ValueError):
    """Why the URL will not do; never repeats it."""


def read_url(text: str, policy: TargetPolicy) -> URL:
    """The URL, with whatever can be told without a look-up of its name. Raises UrlError."""
    if len(text) > LONGEST:
        raise UrlError(f"is longer than {LONGEST} characters")
    if _UNFIT.search(text):
        raise UrlError("holds a space, a backslash or a control character")
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
    except ValueError:
        raise UrlError("is not a URL") from None
    if url.scheme != "https" and not (policy.http and url.scheme == "http"):
        raise UrlError("must begin with https://")
    if not host or port is None:
        raise UrlError("names no host")
    if url.raw_user is not None or url.raw_password is not None:
        raise UrlError("must not hold a user or a password")
    if url.raw_fragment:
        raise UrlError("must not hold a fragment")
    if not policy.allows_port(port):
        raise UrlError("names a port that is not allowed")
    _check_host(host, policy)
    return url


def _check_host(host: str, policy: TargetPolicy) -> None:
    try:
        ip_address(host)
    except ValueError:
        # What ends in a number means an IPv4 address to a resolver, as 2130706433, 0x7f.1 and 127.1 do.
        if ":" in host or "%" in host or _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            raise UrlError("has a host that is neither a name nor an address in its usual form") from None
        return
    if not policy.allows(host):
        raise UrlError("names an address that is not allowed")
