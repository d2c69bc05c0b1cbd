"""Directories of templates for tests."""

from pathlib import Path

import pytest

from relaypost_server.core.rendering import RenderError
from relaypost_server.settings import SettingsError
from relaypost_server.templates.check import open_templates
from relaypost_server.templates.render import Templates

TOML = """
about = "A greeting."
[variables.name]
sample = "Ada"
longest = 2000
[variables.note]
sample = "See you"
optional = true
lines = true
longest = 10000
"""


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def greeting(root: Path, **parts: str) -> Path:
    """A template "hello" with these parts in English: sms, subject, text, html."""
    names = {"sms": "sms.txt", "subject": "subject.txt", "text": "email.txt", "html": "email.html"}
    return write(root, {"hello/template.toml": TOML, **{f"hello/en/{names[k]}": v for k, v in parts.items()}})


def opened(root: Path) -> Templates:
    """The directory's templates alone."""
    return open_templates(None, "en", built_in=root)


def problems(root: Path, default_locale: str = "en") -> dict[str, str]:
    """What is wrong with the directory's templates, by place."""
    with pytest.raises(SettingsError) as caught:
        open_templates(None, default_locale, built_in=root)
    return {p.setting: p.what for p in caught.value.problems}


def violations(error: pytest.ExceptionInfo[RenderError]) -> dict[str, str]:
    return dict(error.value.violations)
