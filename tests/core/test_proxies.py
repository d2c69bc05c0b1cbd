"""HTTPS_PROXY and NO_PROXY, as curl reads them."""

from base64 import b64encode

import pytest
from hypothesis import given, strategies as st

from relaypost_server.core.proxies import bypasses, parse_proxy


@pytest.mark.parametrize(
    ("url", "shown", "credentials"),
    [
        ("http://proxy.example.com:3128", "http://proxy.example.com:3128", ""),
        ("proxy.example.com:3128", "http://proxy.example.com:3128", ""),
        ("http://proxy.example.com", "http://proxy.example.com:80", ""),
        ("https://proxy.example.com/", "https://proxy.example.com:443", ""),
        ("http://[2001:db8::1]:3128", "http://[2001:db8::1]:3128", ""),
        ("http://ada:s3cret@proxy:3128", "http://proxy:3128", "ada:s3cret"),
        ("http://ada:p%40ss%3Aword@proxy:3128", "http://proxy:3128", "ada:p@ss:word"),
        ("http://ada@proxy:3128", "http://proxy:3128", "ada:"),
    ],
)
def test_proxies_of_every_form(url: str, shown: str, credentials: str) -> None:
    proxy = parse_proxy(url)
    assert str(proxy) == shown
    expected = f"Basic {b64encode(credentials.encode()).decode()}" if credentials else ""
    assert proxy.authorization == expected
    assert "s3cret" not in repr(proxy)


@pytest.mark.parametrize(
    "url",
    ["socks5://proxy:1080", "http://", "http://proxy:99999", "http://proxy/path", "http://proxy?x=1", "http://a b"],
)
def test_what_is_no_proxy_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(is not|has|holds)") as caught:
        parse_proxy(url.replace("://", "://ada:s3cret@", 1))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("no_proxy", "host", "exempt"),
    [
        ("", "api.sendgrid.com", False),
        ("*", "api.sendgrid.com", True),
        ("api.sendgrid.com", "api.sendgrid.com", True),
        ("sendgrid.com", "api.sendgrid.com", True),
        (".sendgrid.com", "api.sendgrid.com", True),
        (".sendgrid.com", "sendgrid.com", True),
        ("*.sendgrid.com", "api.sendgrid.com", True),
        ("grid.com", "api.sendgrid.com", False),
        ("API.SendGrid.com.", "api.sendgrid.com", True),
        ("localhost, .sendgrid.com", "api.sendgrid.com", True),
        ("localhost .sendgrid.com", "api.sendgrid.com", True),
        ("api.sendgrid.com:443", "api.sendgrid.com", True),
        ("api.sendgrid.com:8443", "api.sendgrid.com", False),
        (".sendgrid.com:443", "api.sendgrid.com", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.30", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3:443", "10.1.2.3", True),
        ("2.3", "10.1.2.3", False),
        ("::1", "::1", True),
        ("[::1]", "::1", True),
        ("[::1]:443", "::1", True),
        ("[::1]:80", "::1", False),
        ("2001:db8::/32", "2001:db8::7", True),
        (",, ,", "api.sendgrid.com", False),
        (".", "api.sendgrid.com", False),
    ],
)
def test_no_proxy(no_proxy: str, host: str, exempt: bool) -> None:
    assert bypasses(host, 443, no_proxy) is exempt


@given(st.text(), st.sampled_from(["api.sendgrid.com", "10.1.2.3", "::1", ""]), st.integers(1, 65535))
def test_any_no_proxy_can_be_read(no_proxy: str, host: str, port: int) -> None:
    assert bypasses(host, port, no_proxy) in (True, False)


@given(st.text())
def test_any_proxy_is_read_or_refused(url: str) -> None:
    try:
        proxy = parse_proxy(url)
    except ValueError:
        return
    assert proxy.host
    assert 0 < proxy.port < 65536
