"""What a caller may give, and what comes of it."""

from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from relaypost_server.core.rendering import RenderedEmail, RenderError
from relaypost_server.templates.declaration import MOST_VARIABLES
from relaypost_server.templates.render import Templates
from tests.templates.directory import TOML, greeting, opened, violations, write

EMAIL = {"subject": "Hello {{ name }}", "text": "Hello {{ name }}!", "html": "<p title='{{ name }}'>{{ name }}</p>"}


def test_an_email_has_a_subject_a_text_and_html(tmp_path: Path) -> None:
    email = opened(greeting(tmp_path, **EMAIL)).email("hello", {"name": "Ada"}, "en-GB, de")
    assert email == RenderedEmail(subject="Hello Ada", text="Hello Ada!", html="<p title='Ada'>Ada</p>", locale="en")


def test_a_rendering_does_not_show_itself_in_logs(tmp_path: Path) -> None:
    templates = opened(greeting(tmp_path, sms="Hi {{ name }}", **EMAIL))
    assert "canary" not in repr(templates.email("hello", {"name": "canary"}))
    assert "canary" not in repr(templates.sms("hello", {"name": "canary"}))


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    templates = opened(greeting(tmp_path, sms="Hi {{ name }}"))
    with pytest.raises(RenderError) as caught:
        templates.sms("hello", {"nmae": "Ada", "note": "x" * 10_001}, "not a language")
    assert violations(caught) == {
        'variables["name"]': "is required by the template",
        'variables["nmae"]': "is not a variable of the template",
        'variables["note"]': "has 10001 characters, at most 10000 are allowed",
    }


def test_a_name_that_may_hold_anything_is_not_repeated(tmp_path: Path) -> None:
    templates = opened(greeting(tmp_path, sms="Hi {{ name }}"))
    with pytest.raises(RenderError) as caught:
        templates.sms("hello", {"name": "Ada", "Canary\n": "x"})
    assert list(violations(caught)) == ["variables (key 1 by name)"]


def test_too_many_variables_are_refused_unread(tmp_path: Path) -> None:
    templates = opened(greeting(tmp_path, sms="Hi {{ name }}"))
    with pytest.raises(RenderError) as caught:
        templates.sms("hello", {f"v{i}": "" for i in range(MOST_VARIABLES + 1)})
    assert list(violations(caught)) == ["variables"]


def test_unknown_templates_and_missing_channels_are_named(tmp_path: Path) -> None:
    templates = opened(greeting(tmp_path, sms="Hi {{ name }}"))
    with pytest.raises(RenderError) as caught:
        templates.sms("../hello", {"name": "Ada"})
    assert violations(caught) == {"template": "is not the name of a template"}
    with pytest.raises(RenderError) as caught:
        templates.email("hello", {"name": "Ada"})
    assert violations(caught) == {"template": "has no email"}


@pytest.mark.parametrize(
    "bad", ["a\nb", "a\rb", "a\x00b", "a\x1bb", "a\x85b", "a\u2028b", "a\tb", "a\u202eb", "a\ud800b"]
)
def test_a_value_is_one_line_without_control_characters(tmp_path: Path, bad: str) -> None:
    templates = opened(greeting(tmp_path, sms="Hi {{ name }}", **EMAIL))
    for fill in (templates.sms, templates.email):
        with pytest.raises(RenderError) as caught:
            fill("hello", {"name": bad})
        assert list(violations(caught)) == ['variables["name"]']


def test_a_value_adds_lines_only_where_the_template_lets_it(tmp_path: Path) -> None:
    templates = opened(greeting(tmp_path, sms="Hi {{ name }}: {{ note }}"))
    assert templates.sms("hello", {"name": "Ada", "note": "a\nb"}).text == "Hi Ada: a\nb"
    with pytest.raises(RenderError):
        templates.sms("hello", {"name": "Ada", "note": "a\x00b"})


def test_a_subject_is_one_line_whatever_the_template_and_its_values_say(tmp_path: Path) -> None:
    templates = opened(greeting(tmp_path, subject="Hello\n  {{ note }}\n", text="x"))
    email = templates.email("hello", {"name": "Ada", "note": "a\nBcc: eve@example.com"})
    assert email.subject == "Hello a Bcc: eve@example.com"


def test_a_subject_cannot_become_an_encoded_word(tmp_path: Path) -> None:
    templates = opened(greeting(tmp_path, **EMAIL))
    with pytest.raises(RenderError, match="encoded word"):
        templates.email("hello", {"name": "=?utf-8?q?=0ABcc?="})


@pytest.mark.parametrize(
    "value", ["<script>alert(1)</script>", "' onmouseover='x", '" x="', "&lt;b&gt;", "{{ 7 * 7 }}"]
)
def test_html_in_values_stays_text(tmp_path: Path, value: str) -> None:
    email = opened(greeting(tmp_path, **EMAIL)).email("hello", {"name": value})
    assert email.text == f"Hello {value}!"
    for character, escaped in {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&#39;", '"': "&#34;"}.items():
        value = value.replace(character, escaped)
    assert email.html == f"<p title='{value}'>{value}</p>"


def test_line_breaks_are_kept_in_html_and_the_rest_is_escaped(tmp_path: Path) -> None:
    templates = opened(greeting(tmp_path, subject="x", html="<p>{{ note | breaks }}</p>"))
    email = templates.email("hello", {"name": "Ada", "note": "a<b\nc"})
    assert email.html == "<p>a&lt;b<br>\nc</p>"
    assert email.text == ""


def test_a_link_is_http_or_nothing(tmp_path: Path) -> None:
    toml = 'about = "x"\n[variables.link]\nkind = "url"\nsample = "https://example.com"'
    root = write(tmp_path, {"go/template.toml": toml, "go/en/sms.txt": "{{ link }}"})
    templates = opened(root)
    assert templates.sms("go", {"link": "https://example.com/?a=b"}).text == "https://example.com/?a=b"
    for bad in ("javascript:alert(1)", "https://", "//example.com", "https://exa mple.com", "http://[", "data:x"):
        with pytest.raises(RenderError, match="is not a URL"):
            templates.sms("go", {"link": bad})


def test_optional_values_are_the_empty_text(tmp_path: Path) -> None:
    templates = opened(greeting(tmp_path, sms="Hi {{ name }}{% if note %}, {{ note }}{% endif %}."))
    assert templates.sms("hello", {"name": "Ada"}).text == "Hi Ada."
    assert templates.sms("hello", {"name": "Ada", "note": ""}).text == "Hi Ada."
    assert templates.sms("hello", {"name": "Ada", "note": "bye"}).text == "Hi Ada, bye."


def test_a_result_that_is_too_long_is_given_up(tmp_path: Path) -> None:
    loop = "{% for i in range(1000) %}{{ name }}{% endfor %}"
    templates = opened(greeting(tmp_path, sms="{{ name }}{{ note }}", subject="{{ locale }}", text=loop))
    with pytest.raises(RenderError, match=r"sms\.txt: becomes longer than the 1600 characters"):
        templates.sms("hello", {"name": "Ada", "note": "x" * 1600})
    with pytest.raises(RenderError, match=r"email\.txt: becomes longer than the 1048576 characters"):
        templates.email("hello", {"name": "x" * 1999})
    with pytest.raises(RenderError, match=r"email\.txt: becomes longer than the 1048576 bytes"):
        templates.email("hello", {"name": "ж" * 600})


def test_a_value_used_as_what_it_is_not_names_the_line(tmp_path: Path) -> None:
    sms = "Hi {{ name }}\n{% if note %}{{ note | number }}{% endif %}"
    root = greeting(tmp_path, sms=sms)
    toml = TOML.replace('sample = "See you"', 'sample = "5"')
    templates = opened(write(root, {"hello/template.toml": toml}))
    with pytest.raises(RenderError) as caught:
        templates.sms("hello", {"name": "Ada", "note": "canary"})
    assert violations(caught) == {
        "template": "cannot be filled in: hello/en/sms.txt:2: the value of a filter is not a number such as 12.50"
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    return opened(greeting(tmp_path_factory.mktemp("plain"), sms="{{ name }}|{{ note }}|"))


@settings(deadline=None)
@given(name=st.text(max_size=30), note=st.text(max_size=30))
def test_any_values_fill_a_template_in_or_are_refused_by_name(plain: Templates, name: str, note: str) -> None:
    try:
        text = plain.sms("hello", {"name": name, "note": note}).text
    except RenderError as error:
        refused = {where for where, _ in error.violations}
    else:
        refused = set()
        assert text == f"{name}|{note}|".strip()
    assert refused <= {'variables["name"]', 'variables["note"]'}
