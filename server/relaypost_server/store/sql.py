"""Loads the named statements of `queries.sql`."""

import re
from importlib.resources import files

_NAMED = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.DOTALL | re.MULTILINE)


def load_queries() -> dict[str, str]:
    """Each statement by its name, the comments that explain it left out."""
    text = files("relaypost_server.store").joinpath("queries.sql").read_text()
    return {name: re.sub(r"^--.*\n", "", body, flags=re.MULTILINE).strip() for name, body in _NAMED.findall(text)}


QUERIES = load_queries()
