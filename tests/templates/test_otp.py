"""The built-in template for one-time codes, in every language."""

import functools
import re
from html.parser import HTMLParser

import pytest
from hypothesis import event, given, settings, strategies as st

from relaypost_server.core.message import Channel
from relaypost_server.core.rendering import RenderedEmail, RenderedSms, RenderError
from relaypost_server.core.segments import Encoding, count_segments
from relaypost_server.templates.check import open_templates
from relaypost_server.templates.render import Templates

GSM_7 = ["de", "en", "es", "fr", "it", "nl", "pl", "pt", "pt-BR", "tr"]
UCS_2 = ["ar", "hi", "ja", "ko", "ru", "uk", "zh", "zh-Hant"]
LOCALES = sorted(GSM_7 + UCS_2)
VALUES = {"code": "483920", "minutes": "10", "app": "Acme"}
LONG = {**VALUES, "code": "1234567890", "app": "Twenty characters ok"}
VOID = {"meta", "br", "img", "link", "hr", "input"}


@functools.cache
def templates() -> Templates:
    return open_templates(None, "en")


class Page(HTMLParser):
    """The tags of an html text, in order, and whether each is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.tags]


def test_every_language_has_email_and_sms() -> None:
    otp = templates().by_name["otp"]
    assert sorted(otp.locales[Channel.EMAIL]) == LOCALES
    assert sorted(otp.locales[Channel.SMS]) == LOCALES
    assert len({frozenset(parts) for parts in otp.parts.values()}) == 1


@pytest.mark.parametrize("locale", LOCALES)
def test_emails_tell_the_code_in_both_forms(locale: str) -> None:
    email = templates().email("otp", {**VALUES, "purpose": "PURPOSE"}, locale)
    assert email.locale == locale
    assert "Acme" in email.subject
    assert "483920" not in email.subject  # Subjects show on locked screens and in providers' logs.
    page = Page(email.html)
    for text in (email.text, page.text):
        assert "483920" in text
        assert re.search(r"\b10|10\b", text)
        assert "PURPOSE" in text
        assert "{{" not in text


@pytest.mark.parametrize("locale", LOCALES)
def test_the_html_is_accessible_and_asks_for_nothing_from_elsewhere(locale: str) -> None:
    page = Page(templates().email("otp", VALUES, locale).html)
    assert page.tags[0] == ("html", {"lang": locale, "dir": "rtl" if locale == "ar" else "ltr"})
    assert page.names.count("h1") == 1
    assert all(attributes.get("role") == "presentation" for name, attributes in page.tags if name == "table")
    assert not {"img", "link", "script", "a", "iframe"} & set(page.names)
    assert not any("url(" in (attributes.get("style") or "") for _, attributes in page.tags)


@pytest.mark.parametrize("locale", LOCALES)
def test_the_texts_of_a_language_are_its_own(locale: str) -> None:
    """A file that was copied and not translated would be found here."""
    mine = templates().sms("otp", VALUES, locale).text
    email = templates().email("otp", VALUES, locale)
    for other in set(LOCALES) - {locale}:
        assert templates().email("otp", VALUES, other).text != email.text
        assert {locale, other} == {"uk", "ru"} or templates().sms("otp", VALUES, other).text != mine


@pytest.mark.parametrize("values", [VALUES, LONG], ids=["usual", "longest"])
@pytest.mark.parametrize("domain", ["", "example.com"], ids=["plain", "autofill"])
@pytest.mark.parametrize("locale", LOCALES)
def test_a_text_message_takes_one_segment(locale: str, domain: str, values: dict[str, str]) -> None:
    text = templates().sms("otp", {**values, "domain": domain}, locale).text
    segments = count_segments(text)
    assert segments.count == 1
    assert segments.encoding is (Encoding.GSM_7 if locale in GSM_7 else Encoding.UCS_2)
    assert text.index(values["code"]) <= len("Use ")
    lines = text.split("\n")
    assert len(lines) == (2 if domain else 1)
    assert not domain or lines[-1] == f"@{domain} #{values['code']}"


@pytest.mark.parametrize("locale", LOCALES)
def test_a_name_in_another_script_still_takes_one_segment(locale: str) -> None:
    text = templates().sms("otp", {**LONG, "app": "Ж" * 20}, locale).text
    assert count_segments(text).count == 1


@pytest.mark.parametrize(
    ("locale", "forms"),
    [
        ("en", {"1": "in 1 minute.", "2": "in 2 minutes."}),
        ("pl", {"1": "za 1 minutę.", "2": "za 2 minuty.", "5": "za 5 minut.", "12": "12 minut.", "22": "22 minuty."}),
        ("ru", {"1": "1 минуту.", "3": "3 минуты.", "5": "5 минут.", "11": "11 минут.", "21": "21 минуту."}),
        ("uk", {"1": "1 хвилину.", "3": "3 хвилини.", "5": "5 хвилин.", "14": "14 хвилин.", "31": "31 хвилину."}),
        ("ar", {"1": "دقيقة واحدة.", "2": "دقيقتين.", "3": "3 دقائق.", "11": "11 دقيقة.", "100": "100 دقيقة."}),
        ("fr", {"1": "dans 1 minute.", "2": "dans 2 minutes."}),
        ("de", {"1": "in 1 Minute ab.", "30": "in 30 Minuten ab."}),
        ("tr", {"1": "1 dakika sonra", "5": "5 dakika sonra"}),
        ("ja", {"1": "1 分後", "5": "5 分後"}),
    ],
)
def test_minutes_are_counted_as_the_language_does(locale: str, forms: dict[str, str]) -> None:
    for minutes, form in forms.items():
        assert form in templates().email("otp", {**VALUES, "minutes": minutes}, locale).text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("code", "12"),
        ("code", "1234 5678"),
        ("code", "12345678901"),
        ("minutes", "0"),
        ("minutes", "-1"),
        ("minutes", "ten"),
        ("app", "x" * 41),
        ("app", ""),
        ("domain", "https://example.com"),
        ("domain", "example"),
        ("domain", "example.com #999999"),
        ("purpose", "two\nlines"),
        ("purpose", "\n"),
        ("purpose", " "),
    ],
)
def test_values_of_the_wrong_form_are_named(name: str, value: str) -> None:
    with pytest.raises(RenderError) as caught:
        templates().sms("otp", {**VALUES, name: value})
    assert [field for field, _ in caught.value.violations] == [f'variables["{name}"]']
    assert not value or f" {value} " not in f" {caught.value} "


_names = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.text(st.sampled_from("<>&\"'/=! -{}%#@\n\r\u2028pscript"), max_size=40),
)


@settings(max_examples=150, deadline=None)
@given(
    _names,
    _names,
    st.sampled_from(LOCALES),
)
def test_no_name_adds_a_line_a_tag_or_a_header(app: str, purpose: str, locale: str) -> None:
    values = {**VALUES, "app": app, "purpose": purpose}
    try:
        email, sms = templates().email("otp", values, locale), templates().sms("otp", values, locale)
    except RenderError as error:
        refused = {where for where, _ in error.violations}
        event("refused")
    else:
        refused = set()
        _is_unspoilt(email, sms, purpose=purpose, locale=locale)
    assert refused <= {'variables["app"]', 'variables["purpose"]'}


def _is_unspoilt(email: RenderedEmail, sms: RenderedSms, *, purpose: str, locale: str) -> None:
    """As many lines and the same tags as with harmless values."""
    assert len(email.subject.splitlines()) == 1
    assert len(sms.text.splitlines()) == 1
    usual = templates().email("otp", {**VALUES, "purpose": purpose and "x"}, locale)
    assert Page(email.html).names == Page(usual.html).names
    assert len(email.text.splitlines()) == len(usual.text.splitlines())
