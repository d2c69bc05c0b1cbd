"""Loads the named statements of the `.sql` files beside it."""

import re
from importlib.resources import files

_NAMED = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.DOTALL | re.MULTILINE)


def load_queries() -> dict[str, str]:
    """Each statement by its name, the comments that explain it left out."""
    found = (f for f in files("relaypost_server.store").iterdir() if f.name.endswith(".sql"))
    texts = [file.read_text() for file in sorted(found, key=lambda f: f.name)]
    return {
        name: re.sub(r"^--.*\n", "", body, flags=re.MULTILINE).strip()
        for text in texts
        for name, body in _NAMED.findall(text)
    }


QUERIES = load_queries()
