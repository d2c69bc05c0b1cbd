"""Dates, numbers and plurals in the language of the message."""

from pathlib import Path

import pytest

from relaypost_server.core.rendering import RenderError
from tests.templates.directory import opened, problems, write

TOML = """
about = "Every filter."
[variables.n]
sample = "1234.5"
kind = "number"
[variables.day]
sample = "2026-07-04"
kind = "date"
[variables.at]
sample = "2026-07-04T18:30:00Z"
kind = "datetime"
[variables.text]
sample = "a, B"
optional = true
lines = true
"""


VALUES = {"n": "1234.5", "day": "2026-07-04", "at": "2026-07-04T18:30:00+00:00"}


def shown(root: Path, expression: str, locale: str = "en", **values: str) -> str:
    """What an expression comes to."""
    tag = locale.split("-", maxsplit=1)[0]
    files = {"f/template.toml": TOML, **{f"f/{t}/sms.txt": expression for t in ("en", tag)}}
    return opened(write(root, files)).sms("f", {**VALUES, **values}, locale).text


@pytest.mark.parametrize(
    ("expression", "locale", "text"),
    [
        ("{{ n | number }}", "en", "1,234.5"),
        ("{{ n | number }}", "de", "1.234,5"),
        ("{{ n | currency('EUR') }}", "en", "€1,234.50"),
        ("{{ n | currency('JPY') }}", "ja", "￥1,234"),
        ("{{ '0.25' | percent }}", "en", "25%"),
        ("{{ day | date }}", "en", "July 4, 2026"),
        ("{{ day | date }}", "en-GB", "4 July 2026"),
        ("{{ day | date('full') }}", "de", "Samstag, 4. Juli 2026"),
        ("{{ day | date('short') }}", "pt-BR", "04/07/2026"),
        ("{{ at | time }}", "de", "18:30"),
        ("{{ at | time(timezone='Europe/Berlin') }}", "de", "20:30"),
        ("{{ at | datetime('medium', timezone='America/New_York') }}", "de", "04.07.2026, 14:30:00"),
        ("{{ n | plural(one='# day', other='# days') }}", "en", "1,234.5 days"),
        ("{{ 'a, B' | upper }} {{ 'A' | lower }} {{ ' x ' | trim }}|", "en", "A, B a x|"),
        ("{% for x in 'a, b' | split %}[{{ x }}{{ loop.index }}]{% endfor %}", "en", "[a1][b2]"),
        ("{% for x in text | lines %}[{{ x }}]{% endfor %}", "en", "[p][q]"),
        ("{{ text | length }}", "en", "3"),
        ("{{ locale }} {{ direction }}", "ar-EG", "ar rtl"),
    ],
)
def test_values_are_written_as_the_reader_is_used_to(tmp_path: Path, expression: str, locale: str, text: str) -> None:
    assert shown(tmp_path, expression, locale, text="p\nq") == text


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("n", "1e9"),
        ("n", "NaN"),
        ("n", "1" * 16),
        ("n", "١"),
        ("n", "1,5"),
        ("day", "2026-13-01"),
        ("day", "tomorrow"),
        ("at", "2026-07-04T18:31:00"),
        ("at", "soon"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(tmp_path: Path, name: str, bad: str) -> None:
    with pytest.raises(RenderError) as caught:
        shown(tmp_path, "x", **{name: bad})
    assert [field for field, _ in caught.value.violations] == [f'variables["{name}"]']
    assert bad not in str(caught.value)


def test_moments_at_the_ends_of_the_calendar_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match=r"f/en/sms\.txt:1"):
        shown(tmp_path, "{{ at | time(timezone='Asia/Tokyo') }}", at="9999-12-31T23:59:00Z")


@pytest.mark.parametrize(
    "expression",
    [
        "{{ n | currency('euro') }}",
        "{{ day | date('dd') }}",
        "{{ at | time(timezone='Mars/Base') }}",
        "{{ at | time(timezone='../../etc/passwd') }}",
        "{{ n | plural(other='x', several='y') }}",
        "{{ n | plural(one='x') }}",
        "{{ 'x' | split('') | length }}",
        "{{ 'x' | number }}",
        "{{ text | number }}",
        "{{ none | length }}",
        "{{ ['a', 'b'] }}",
        "{{ none }}",
        "{{ 'a' in 5 }}",
    ],
)
def test_filters_that_are_used_wrongly_are_found_at_the_start(tmp_path: Path, expression: str) -> None:
    found = problems(write(tmp_path, {"f/template.toml": TOML, "f/en/sms.txt": f"x\n{expression}"}))
    assert list(found) == ["f/en/sms.txt:2"]


def test_the_same_templates_serve_many_languages_at_once(tmp_path: Path) -> None:
    """A rendering leaves nothing behind for the next one."""
    root = write(tmp_path, {"f/template.toml": TOML, **{f"f/{t}/sms.txt": "{{ n | number }}" for t in ("en", "de")}})
    templates = opened(root)
    for _ in range(3):
        assert templates.sms("f", {**VALUES, "n": "1.5"}, "de").text == "1,5"
        assert templates.sms("f", {**VALUES, "n": "1.5"}, "en").text == "1.5"
