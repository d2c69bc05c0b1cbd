"""What a template cannot do, and what a value can never do."""

import time
from pathlib import Path

import pytest

from relaypost_server.core.rendering import RenderError
from tests.templates.directory import greeting, opened, problems, write

INJECTIONS = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ name.__class__ }}",
    "{{ name.__init__.__globals__.__builtins__ }}",
    "{{ self.__init__.__globals__.__builtins__.__import__('os').popen('id').read() }}",
    "{{ self._TemplateReference__context }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ joiner() }}",
    "{{ namespace(x=1) }}",
    "{{ dict(x=1) }}",
    "{{ config }}",
    "{{ request.application.__globals__ }}",
    "{{ get_flashed_messages.__globals__ }}",
    "{{ name | attr('__class__') }}",
    "{{ name | attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "{{ [name] | map(attribute='__class__') | list }}",
    "{{ ['a'] | map('upper') | join }}",
    "{{ '%s' | format(name) }}",
    "{{ '{0.__class__}'.format(name) }}",
    "{{ name.format_map }}",
    "{{ name | safe }}",
    "{{ name | tojson }}",
    "{{ name | xmlattr }}",
    "{{ name | pprint }}",
    "{{ name | urlize }}",
    "{{ _formats }}",
    "{{ __builtins__ }}",
    "{{ range.__self__ }}",
    "{{ range }}",
    "{{ super }}",
    "{{ super().__class__ }}",
    "{{ loop.cycle('a') }}",
    "{{ loop._iterator }}",
    "{% import 'os' as os %}",
    "{% from 'os' import popen %}",
    "{% include '/etc/passwd' %}",
    "{% include '../../../etc/_passwd.txt' %}",
    "{% extends '_../../etc/passwd' %}",
    "{% include name %}",
    "{% include ['_a.txt', '_b.txt'] %}",
    "{% include 'hello/template.toml' %}",
    "{% autoescape false %}{{ name }}{% endautoescape %}",
    "{% macro m() %}{% endmacro %}",
    "{% call range(1) %}{% endcall %}",
    "{% filter upper %}x{% endfilter %}",
    "{% set x %}{{ name }}{{ name }}{% endset %}",
    "{% set x.y = 1 %}",
    "{% set a, b = 'ab' %}",
    "{% with x = 1 %}{% endwith %}",
    "{% debug %}",
    "{% do name %}",
]


@pytest.mark.parametrize("payload", INJECTIONS)
@pytest.mark.parametrize("part", ["sms", "html"])
def test_a_payload_in_a_file_is_refused_with_its_line(tmp_path: Path, payload: str, part: str) -> None:
    root = greeting(tmp_path, subject="x", **{part: f"Hi {{{{ name }}}}\n\n{payload}\n"}, **_rest(part))
    found = problems(root)
    file = {"sms": "sms.txt", "html": "email.html"}[part]
    assert set(found) == {f"hello/en/{file}:3"}


def _rest(part: str) -> dict[str, str]:
    return {"text": "x"} if part == "sms" else {}


@pytest.mark.parametrize("payload", INJECTIONS)
def test_a_payload_in_a_value_is_only_text(tmp_path: Path, payload: str) -> None:
    templates = opened(greeting(tmp_path, sms="{{ name }}", subject="{{ name }}", text="{{ name }}"))
    assert templates.sms("hello", {"name": payload}).text == payload
    email = templates.email("hello", {"name": payload})
    assert (email.subject, email.text) == (payload, payload)


@pytest.mark.parametrize(
    "bomb",
    [
        "{{ 'x' * 10 ** 9 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ name ~ name }}",
        "{{ name + name }}",
        "{{ 'x'.ljust(1000000000) }}",
        "{{ 'x' | center(1000000000) }}",
        "{{ 'x' | indent(1000000000) }}",
        "{{ [name, name] | length }}",
        "{{ 'a' | replace('a', 'aa') }}",
        "{% for i in range(1000000000) %}x{% endfor %}",
        "{% for i in range(0, 1000000000, 2) %}{% endfor %}",
        "{% for i in range(1000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}",
        "{% for i in range(1000) %}{% include '_big.txt' %}{% endfor %}",
        "{% for i in range(1000) %}{% block b %}{% endblock %}{% endfor %}",
        "{% for i in range(9) recursive %}{{ loop(range(9)) }}{% endfor %}",
    ],
)
def test_work_without_bound_is_refused_at_once(tmp_path: Path, bomb: str) -> None:
    root = write(greeting(tmp_path, sms=f"{{{{ name }}}}\n{bomb}"), {"hello/_big.txt": "x"})
    begin = time.monotonic()
    assert list(problems(root)) == ["hello/en/sms.txt:2"]
    assert time.monotonic() - begin < 5


def test_doubling_again_and_again_cannot_be_written(tmp_path: Path) -> None:
    sms = "{% set x = name %}" + "{% set x = x | upper | lower | escape | trim %}" * 60 + "{{ x }}"
    assert opened(greeting(tmp_path, sms=sms)).sms("hello", {"name": "Ada"}).text == "ada"


def test_a_file_that_uses_itself_is_refused(tmp_path: Path) -> None:
    root = write(greeting(tmp_path, sms="{% include '_a.txt' %}"), {"hello/_a.txt": "{% include '_a.txt' %}"})
    assert set(problems(root).values()) == {"uses itself"}


def test_what_ends_in_a_loop_for_some_values_only_is_refused_then(tmp_path: Path) -> None:
    files = {"hello/_a.txt": "x{% if note == 'again' %}{% include '_a.txt' %}{% endif %}"}
    templates = opened(write(greeting(tmp_path, sms="{{ name }}{% include '_a.txt' %}"), files))
    assert templates.sms("hello", {"name": "Ada"}).text == "Adax"
    with pytest.raises(RenderError, match=r"uses itself|becomes longer"):
        templates.sms("hello", {"name": "Ada", "note": "again"})


def test_plain_text_is_not_carried_into_html(tmp_path: Path) -> None:
    html = "<p>{% include '_a.txt' %}</p>"
    root = write(greeting(tmp_path, subject="x", html=html), {"hello/_a.txt": "{{ name }}"})
    assert problems(root) == {"hello/en/email.html:1": "a .html file can use .html files only"}


def test_the_longest_values_are_filled_in_quickly(tmp_path: Path) -> None:
    html = "{% for line in note | lines %}<p>{{ loop.index }} {{ line | upper }}</p>\n{% endfor %}{{ note | breaks }}"
    templates = opened(greeting(tmp_path, subject="x", html=html))
    begin = time.monotonic()
    email = templates.email("hello", {"name": "Ada", "note": "<\n" * 5000})
    assert time.monotonic() - begin < 5
    assert email.html.count("<p>") == 5001
