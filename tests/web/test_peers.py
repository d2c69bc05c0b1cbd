"""Whose connections and callbacks are counted together."""

import pytest

from relaypost_server.core.webhook_targets import networks
from relaypost_server.web.peers import UNKNOWN, Peers, key

PROXIES = Peers(networks(["10.0.0.0/8", "2001:db8:ffff::/48"]))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", UNKNOWN),
        ("unix:", UNKNOWN),
    ],
)
def test_a_peer_is_an_ipv4_address_or_an_ipv6_network(address: str, expected: str) -> None:
    assert key(address) == expected


@pytest.mark.parametrize(
    ("address", "forwarded", "expected"),
    [
        ("192.0.2.7", ["198.51.100.1"], "192.0.2.7"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("2001:db8:ffff::1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [], UNKNOWN),
        ("10.0.0.1", ["nonsense"], UNKNOWN),
        ("10.0.0.1", ["10.0.0.2"], "10.0.0.2"),
    ],
)
def test_only_a_trusted_proxy_is_believed(address: str, forwarded: list[str], expected: str) -> None:
    assert PROXIES.behind(address, forwarded) == expected


def test_no_proxy_is_trusted_by_default() -> None:
    assert Peers().behind("127.0.0.1", ["198.51.100.1"]) == "127.0.0.1"
