"""A template that is nested too deeply is a mistake in the settings, and ends in no traceback."""

from pathlib import Path

import pytest

from relaypost_server.settings import SettingsError
from relaypost_server.templates.check import gateway_templates

DEEP = {
    "parentheses": "{{ " + "(" * 3000 + "name" + ")" * 3000 + " }}",
    "conditions": "{% if name %}" * 300 + "x" + "{% endif %}" * 300,
    "conditions that Jinja takes": "{% if name %}" * 110 + "x" + "{% endif %}" * 110,
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_a_template_that_is_too_deep_is_told_as_a_mistake(tmp_path: Path, text: str) -> None:
    for name, words in {
        "welcome/template.toml": 'about = "Welcome"\n[variables.name]\nsample = "Ada"\n',
        "welcome/en/subject.txt": "Hi",
        "welcome/en/email.txt": text,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(words)
    with pytest.raises(SettingsError) as caught:
        gateway_templates(tmp_path, "en")
    assert "welcome/en/email.txt" in caught.value.problems[0].setting
