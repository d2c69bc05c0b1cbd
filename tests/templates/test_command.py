"""`relaypost template`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relaypost_server.cli import main
from tests.templates.directory import greeting, write


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["template", *arguments])


def test_list_tells_templates_variables_and_languages() -> None:
    shown = run("list")
    assert shown.exit_code == 0
    assert "otp  A one-time code" in shown.stdout
    assert "sms: ar de en es" in shown.stdout
    (otp,) = json.loads(run("list", "--json").stdout)["templates"]
    assert otp["name"] == "otp"
    assert "zh-Hant" in otp["locales"]["email"]
    assert otp["variables"]["domain"]["optional"] is True


def test_check_passes_what_is_right() -> None:
    shown = run("check")
    assert (shown.exit_code, shown.stdout) == (0, "no mistakes in 1 template\n")


def test_check_names_a_broken_template_with_line_and_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    greeting(tmp_path, sms="one\n{{ nmae }}")
    shown = run("check", "--dir", str(tmp_path))
    assert shown.exit_code == 2
    assert "hello/en/sms.txt:2: uses nmae, which hello/template.toml does not declare" in shown.stderr
    monkeypatch.setenv("RELAYPOST_TEMPLATES_DIR", str(tmp_path))
    shown = run("check", "--json")
    assert shown.exit_code == 2
    (problem,) = json.loads(shown.stdout)["problems"]
    assert problem["where"] == "hello/en/sms.txt:2"


def test_preview_fills_in_samples_where_nothing_is_given(tmp_path: Path) -> None:
    page = tmp_path / "otp.html"
    shown = run("preview", "otp", "--locale", "pt-BR,en;q=0.5", "--var", "app=Loja", "--html", str(page))
    assert shown.exit_code == 0
    assert "Seu código Loja" in shown.stdout
    assert "Use 483920 para continuar em Loja. Nunca repasse." in shown.stdout
    assert "1 segment, " in shown.stdout
    assert page.read_text().startswith('<!doctype html>\n<html lang="pt-BR" dir="ltr">')


def test_preview_prints_one_part_as_it_is() -> None:
    shown = run("preview", "otp", "--part", "sms.txt", "--var", "code=1234", "--var", "domain=example.com")
    assert shown.stdout == "1234 is your Acme code. Don't share it.\n@example.com #1234\n"


def test_preview_prints_json() -> None:
    shown = json.loads(run("preview", "otp", "--locale", "ja", "--json").stdout)
    assert shown["sms"]["segments"] == 1
    assert shown["sms"]["encoding"] == "UCS-2"
    assert shown["email"]["locale"] == "ja"
    assert "483920" in shown["email"]["html"]


def test_preview_names_what_is_wrong() -> None:
    shown = run("preview", "otp", "--var", "cod=1", "--locale", "?")
    assert shown.exit_code == 2
    assert 'variables["cod"] is not a variable of the template' in shown.stderr
    assert "locale is not a language tag" in shown.stderr
    found = json.loads(run("preview", "opt", "--json").stdout)
    assert found == {"violations": [{"field": "template", "description": "is not the name of a template"}]}


def test_preview_of_a_part_that_there_is_not_fails(tmp_path: Path) -> None:
    root = write(greeting(tmp_path, sms="Hi {{ name }}"), {})
    shown = run("preview", "hello", "--dir", str(root), "--part", "email.html")
    assert (shown.exit_code, shown.stderr) == (1, "the template has no email.html\n")


def test_mistakes_in_the_two_settings_are_told() -> None:
    shown = run("list", "--default-locale", "english")
    assert shown.exit_code == 2
    assert "RELAYPOST_DEFAULT_LOCALE" in shown.stderr
