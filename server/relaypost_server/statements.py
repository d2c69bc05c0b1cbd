"""Loads named statements: each begins with a line `-- name: NAME` in a `.sql` file."""

import re
from collections.abc import Mapping
from importlib.resources import files

_NAMED = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)


def load_statements(package: str) -> Mapping[str, str]:
    """Every statement of the package's `.sql` files by its name, without comment lines."""
    found = (f for f in files(package).iterdir() if f.name.endswith(".sql"))
    texts = [file.read_text() for file in sorted(found, key=lambda f: f.name)]
    return {name: _COMMENT.sub("", body).strip() for text in texts for name, body in _NAMED.findall(text)}
