"""Media types and their parameters."""

import pytest
from hypothesis import given, strategies as st

from relaypost_server.core.media_types import MediaTypeError, parse_media_type


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("application/pdf", "application/pdf"),
        ("TEXT/HTML", "text/html"),
        ("text/calendar; method=REQUEST", "text/calendar; method=REQUEST"),
        ("text/calendar;METHOD=REQUEST;", "text/calendar; method=REQUEST"),
        ("text/csv; charset=utf-8", "text/csv; charset=utf-8"),
        (' text/csv ; charset = "utf-8" ', "text/csv; charset=utf-8"),
        ('application/pdf; name="a.pdf"', "application/pdf; name=a.pdf"),
        ('application/pdf; name="my \\"a\\".pdf"', 'application/pdf; name="my \\"a\\".pdf"'),
        ("application/pdf; NAME*=utf-8''a.pdf", "application/pdf; name*=utf-8''a.pdf"),
        ("text/x; name*0*=utf-8'en'%E2%82%AC; name*1=b", "text/x; name*0*=utf-8'en'%E2%82%AC; name*1=b"),
        ('application/pdf; name=""', 'application/pdf; name=""'),
    ],
)
def test_types_are_written_in_one_form(text: str, written: str) -> None:
    assert str(parse_media_type(text)) == written
    assert str(parse_media_type(written)) == written


@pytest.mark.parametrize(
    "text",
    [
        *("", "text", "text/", "/html", "text / html", "text/html/x", "text/html\r\nX: y", "text/html; charset"),
        *("text/html; charset=", "text/html; charset=é", 'text/html; charset="a', "text/html; a=b; A=c"),
        *("text/html; a=b\nc", "text/html, text/plain", "text/html; a*=b; A*=c", "text/html; a=" + "b" * 255),
    ],
)
def test_an_invalid_media_type_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(MediaTypeError, match=r"^(is|has) "):
        parse_media_type(text)


@given(st.text("aZ*/;=\" \\\t\r\n\0é*'-.", max_size=30).map(lambda rest: f"text/csv{rest}"))
def test_a_parsed_media_type_is_one_line_of_ascii_and_parses_to_itself(text: str) -> None:
    try:
        found = parse_media_type(text)
    except MediaTypeError:
        return
    assert str(found).isprintable()
    assert str(found).isascii()
    assert parse_media_type(str(found)) == found
