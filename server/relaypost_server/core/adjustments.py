"""What the gateway changes in a message so that it can be sent; callers are told each change."""

import re
from enum import StrEnum

from relaypost_server.core.value import value

MOST_ADJUSTMENTS = 20
"""Of one message; further ones are counted, but not told."""

_PLACE = re.compile(r"\[[^\]]*\]| \(.*\)$")
"""An index or a key: "[0]", '["X-Org"]', " (key 2 by name)"."""
_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")


class AdjustmentKind(StrEnum):
    """What was done to a field."""

    TRIMMED = "trimmed"
    """Space, invisible characters or punctuation around it were dropped."""
    DROPPED = "dropped"
    """Control characters were dropped."""
    REPLACED = "replaced"
    """Characters were replaced: by others that look alike, or by those of the code page that they came from."""
    REWRITTEN = "rewritten"
    """It was written in its present form."""
    SHORTENED = "shortened"
    """It was shortened to what the provider takes."""
    IGNORED = "ignored"
    """It could not be read, and its default was used."""


@value(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """A change of one field."""

    field: str
    """Its path, for example "email.to[0].address"."""
    kind: AdjustmentKind
    description: str
    """A sentence for people of at most 200 characters. Holds nothing of the field's value."""


def field_name(path: str) -> str:
    """A field's path without indices and keys: "email.to.address". "other" for what could hold a caller's text."""
    name = _PLACE.sub("", path)
    return name if _NAME.fullmatch(name) else "other"
