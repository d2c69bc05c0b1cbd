"""Email addresses."""

import pytest
from email_validator import validate_email
from hypothesis import given, settings, strategies as st

from relaypost_server.addresses.emails import _PLAIN_EMAIL, parse_email, read_email
from relaypost_server.addresses.errors import AddressError
from relaypost_server.core.adjustments import AdjustmentKind
from tests.faults import meaning

LOCAL = st.text("abcXYZ0189._+-", min_size=1, max_size=66)
DOMAIN = st.text("abcxyz0189.-", min_size=1, max_size=80)


@settings(max_examples=2000)
@given(LOCAL, DOMAIN)
def test_the_fast_pattern_matches_only_addresses_that_the_library_leaves_unchanged(local: str, domain: str) -> None:
    address = f"{local}@{domain}"
    if _PLAIN_EMAIL.fullmatch(address) and "--" not in address:
        library = validate_email(
            address, check_deliverability=False, allow_smtputf8=False, globally_deliverable=False, strict=True
        )
        assert library.ascii_email == address


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("ada@example.com", "ada@example.com"),
        ("Ada.Lovelace+x@EXAMPLE.com", "Ada.Lovelace+x@example.com"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada@localhost", "ada@localhost"),
        ("ada@mail.internal", "ada@mail.internal"),
        ("josé@example.com", "josé@example.com"),
        ("jose\u0301@example.com", "josé@example.com"),
        ("col·lega@example.com", "col·lega@example.com"),
        ("用户@例子.广告", "用户@xn--fsqu00a.xn--4rr70v"),
        ('"ada"@example.com', "ada@example.com"),
        ('"a..b"@docomo.ne.jp', '"a..b"@docomo.ne.jp'),
        ('"a b"@example.com', '"a b"@example.com'),
        ("bounce+ada=example.com@lists.example.com", "bounce+ada=example.com@lists.example.com"),
        ("prvs=0123456789=ada@example.com", "prvs=0123456789=ada@example.com"),
        ("SRS0=HHH=TT=example.org=ada@example.com", "SRS0=HHH=TT=example.org=ada@example.com"),
    ],
)
def test_addresses_in_their_final_form(text: str, parsed: str) -> None:
    assert parse_email(text) == parsed
    assert parse_email(parsed) == parsed
    assert read_email(text).changes == ()


@pytest.mark.parametrize(
    ("text", "parsed", "kinds"),
    [
        (" ada@example.com ", "ada@example.com", ["trimmed"]),
        ("\u200bada@example.com\ufeff", "ada@example.com", ["trimmed"]),
        ("\u00a0ada@example.com\r\n", "ada@example.com", ["trimmed"]),
        ("\u202aada@example.com\u202c", "ada@example.com", ["trimmed"]),
        ("ada@exam\u00adple.com", "ada@example.com", ["trimmed"]),
        ("Ａｄａ＠ｅｘａｍｐｌｅ．ｃｏｍ", "Ada@example.com", ["rewritten"]),
        ("\u3000ada@example。com", "ada@example.com", ["trimmed", "rewritten"]),
        ("a..b@docomo.ne.jp", '"a..b"@docomo.ne.jp', ["rewritten"]),
        ("a.b.@docomo.ne.jp", '"a.b."@docomo.ne.jp', ["rewritten"]),
        (".ab@ezweb.ne.jp", '".ab"@ezweb.ne.jp', ["rewritten"]),
        ("mailto:ada@example.com", "ada@example.com", ["rewritten"]),
        (" MailTo:ada%2Bx@example.com", "ada+x@example.com", ["trimmed", "rewritten"]),
        ("ada@example.com,", "ada@example.com", ["trimmed"]),
        ("ada@example.com; ", "ada@example.com", ["trimmed", "trimmed"]),
        ("ada@example.com.", "ada@example.com", ["trimmed"]),
        ("mailto:ada@example.com ;", "ada@example.com", ["rewritten", "trimmed"]),
    ],
)
def test_pasted_and_old_addresses_are_repaired_and_the_change_is_told(text: str, parsed: str, kinds: list[str]) -> None:
    found = read_email(text)
    assert found.address == parsed
    assert [kind for kind, _ in found.changes] == [AdjustmentKind(kind) for kind in kinds]
    assert not any(text in told for _, told in found.changes)


@pytest.mark.parametrize(
    "text",
    [
        *("", "ada", "@example.com", "ada@", "a b@example.com", "ada@exa mple.com", "ada@@example.com"),
        *("ada@example..com", "..@example.com", '"a@b"@example.com', '"a,b"@example.com', "<ada@example.com>"),
        *("Ada <ada@example.com>", "ada@example.com\r\nRCPT TO:<x@y.z>", "ada\x00@example.com", "ada@example.com\x00"),
        *('"a\\"b"@example.com', "ada@-example.com", "ada@example.com,bob@example.com", '"a  b"@example.com'),
        *("a\ufe6bexample.net@example.com", "é" * 33 + "@example.com", '"jo sé"@example.com', "a＠b@example.com"),
        *("“ada”@example.com", "ada…@example.com", "ada—b@example.com", "👩@example.com", "€@example.com"),
        *(
            "mailto:ada@example.com?bcc=b@example.com",
            "mailto:a%40b@example.com",
            "mailto:",
            ",",
            "@,",
            "mailto:a%0Ab@x.de",
        ),
        *("ada@[127.0.0.1]", "a" * 65 + "@example.com", "a@" + "b" * 64 + ".com", "a@" + "b." * 130 + "com"),
    ],
)
def test_texts_that_are_no_address_are_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_email(text)


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("Ada <ada@example.com>", "display_name"),
        ("é" * 33 + "@example.com", "64 bytes"),
        ("a" * 65 + "@example.com", "64 bytes"),
        ('"a@b"@example.com', "within quotes"),
        ("ada@example.com\nada@example.org", "control characters"),
        ("ada", "ada@example.com"),
        ("“ada”@example.com", "punctuation or symbols beyond ASCII"),
        ("mailto:ada@example.com?subject=Hi", r"after the \?"),
        ("ada@example.com, grace@example.com", "one address"),
        ("ada@example.com;grace@example.com", "one address"),
    ],
)
def test_an_error_tells_the_cure(text: str, cure: str) -> None:
    with pytest.raises(AddressError, match=cure):
        parse_email(text)


PIECES = st.sampled_from(
    [
        *'ab.@ \t\r\n"<>,;é用Ａ＠．“…·\u200b\ufeff\u00a0\u202e\u00ad\u0301',
        *("ada@example.com", "docomo.ne.jp", "mailto:", "?"),
    ]
)


@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=12).map("".join)))
def test_every_text_is_an_address_or_raises_address_error(text: str) -> None:
    try:
        parsed = parse_email(text)
    except AddressError:
        return
    local, _, domain = parsed.rpartition("@")
    assert domain.isascii()
    assert not set(parsed) & set("<>(),;:\\\r\n\x00")
    assert "@" not in local
    assert len(local.encode()) <= 64
    assert len(parsed.encode()) <= 254
    assert parse_email(parsed) == parsed


@settings(max_examples=500)
@given(
    st.text("abcXYZ019._+-=é用", min_size=1, max_size=20),
    st.sampled_from(["example.com", "EXAMPLE.com", "bücher.example", "docomo.ne.jp"]),
    st.text(" \t\r\n\u00a0\u200b\ufeff\u3000\u2060", max_size=4),
    st.booleans(),
)
def test_pasted_addresses_are_read_as_by_the_second_set_of_rules(
    local: str, domain: str, paste: str, wide: bool
) -> None:
    address = f"{local}@{domain}"
    if wide:
        address = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in address)
    try:
        parsed = parse_email(paste + address + paste)
    except AddressError:
        odd = ".." in local or local.startswith(".") or local.endswith(".")
        assert "=?" in address or (odd and (not local.isascii() or set(local) == {"."}))
        return
    assert parsed == meaning.address(paste + address + paste)
