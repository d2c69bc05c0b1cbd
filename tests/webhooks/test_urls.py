"""Which URLs an endpoint may have."""

import contextlib

import pytest
from hypothesis import given, strategies as st

from relaypost_server.core.webhook_targets import TargetPolicy, networks
from relaypost_server.webhooks.urls import UrlError, read_url

POLICY = TargetPolicy(ports=(range(443, 444), range(8000, 8010)))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("https://example.com", "https://example.com"),
        ("https://EXAMPLE.com/Hook?token=1", "https://example.com/Hook?token=1"),
        ("https://example.com:8009/hook", "https://example.com:8009/hook"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://8.8.8.8/hook", "https://8.8.8.8/hook"),
        ("https://[2606:4700:4700::1111]/hook", "https://[2606:4700:4700::1111]/hook"),
    ],
)
def test_good_ones(text: str, read: str) -> None:
    assert str(read_url(text, POLICY)) == read


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://example.com", "https://"),
        ("ftp://example.com", "https://"),
        ("file:///etc/passwd", "https://"),
        ("gopher://example.com", "https://"),
        ("//example.com", "https://"),
        ("example.com", "https://"),
        ("https://", "host"),
        ("https:///hook", "host"),
        ("https://ada@example.com", "user"),
        ("https://ada:secret@example.com", "user"),
        ("https://:secret@example.com", "user"),
        ("https://:@example.com", "user"),
        ("https://example.com#part", "fragment"),
        ("https://example.com:22", "port"),
        ("https://example.com:80", "port"),
        ("https://example.com:0", "port"),
        ("https://example.com:99999", "URL"),
        ("https://exa mple.com", "space"),
        ("https://example.com/\r\nHost: other", "space"),
        ("https://example.com\\@other.example", "backslash"),
        ("https://" + "a" * 2050, "longer"),
        ("https://127.0.0.1", "address"),
        ("https://169.254.169.254/latest/meta-data", "address"),
        ("https://[::1]", "address"),
        ("https://[::ffff:127.0.0.1]", "address"),
        ("https://[::ffff:7f00:1]", "address"),
        ("https://[64:ff9b::7f00:1]", "address"),
        ("https://[fe80::1%25eth0]", "address"),
        ("https://2130706433", "host"),
        ("https://0x7f000001", "host"),
        ("https://0x7f.1", "host"),
        ("https://127.1", "host"),
        ("https://127.1.", "host"),
        ("https://0177.0.0.1", "host"),
        ("https://127。0。0。1", "address"),
        ("https://127.0.0.1.", "host"),
        ("https://1.2.3.4.5", "host"),
        ("https://exa%2fmple.com", "host"),
    ],
)
def test_bad_ones(text: str, why: str) -> None:
    with pytest.raises(UrlError, match=why):
        read_url(text, POLICY)


def test_http_and_other_networks_may_be_allowed() -> None:
    policy = TargetPolicy(ports=(range(80, 81),), http=True, networks=networks(["127.0.0.0/8"]))
    assert str(read_url("http://127.0.0.1/hook", policy)) == "http://127.0.0.1/hook"
    with pytest.raises(UrlError, match="address"):
        read_url("http://169.254.169.254/", policy)


@given(st.text(max_size=80).map("https://".__add__) | st.text(max_size=80))
def test_no_text_raises_anything_else(text: str) -> None:
    with contextlib.suppress(UrlError):
        url = read_url(text, POLICY)
        assert (url.scheme, url.raw_user, url.raw_password) == ("https", None, None)
