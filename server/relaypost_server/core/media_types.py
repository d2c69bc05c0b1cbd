"""Media types with parameters (RFC 2045, section 5.1), such as "text/calendar; method=REQUEST".

Names of parameters may end in "*" (RFC 2231): their values stay as they are written, percent-encoded.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

LONGEST = 255
"""Characters of a type with its parameters."""

_NAME = r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}"
_TYPE = re.compile(rf"{_NAME}/{_NAME}")
_PARAMETER = re.compile(
    r"[ \t]*;[ \t]*(?:([A-Za-z0-9!#$&*^_.+-]{1,63})[ \t]*=[ \t]*"
    r'(?:([A-Za-z0-9!#$%&\'*+^_`{|}~.-]+)|"((?:[^"\\\x00-\x1f\x7f-\U0010ffff]|\\[ -~])*)"))?'
)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+^_`{|}~.-]+")


class MediaTypeError(ValueError):
    """Why the text is no media type; the reason never repeats the text."""


@dataclass(frozen=True, slots=True)
class MediaType:
    """A type such as "text/csv" and its parameters; both names are in lower case, values are unquoted."""

    essence: str
    parameters: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return self.essence + "".join(f"; {name}={_quoted(value)}" for name, value in self.parameters)

    def get(self, name: str) -> str:
        """A parameter's value; "" where there is none."""
        return dict(self.parameters).get(name, "")

    def having(self, name: str, value: str) -> "MediaType":
        """The same with one more parameter."""
        return MediaType(self.essence, (*self.parameters, (name, value)))

    def only(self, *names: str) -> "MediaType":
        """The same with these parameters alone."""
        return MediaType(self.essence, tuple(p for p in self.parameters if p[0] in names))


@lru_cache(maxsize=256)
def parse_media_type(text: str) -> MediaType:
    """The type that a text names. Raises MediaTypeError."""
    if len(text) > LONGEST:
        raise MediaTypeError(f"has {len(text)} characters, at most {LONGEST} are allowed")
    essence, semicolon, _ = text.strip(" \t").partition(";")
    essence = essence.rstrip(" \t").lower()
    if not _TYPE.fullmatch(essence):
        raise MediaTypeError("is not a media type such as application/pdf")
    found, position, rest = [], 0, text.strip(" \t")[len(essence) :] if semicolon else ""
    while position < len(rest):
        match = _PARAMETER.match(rest, position)
        if match is None or match.end() == position:
            raise MediaTypeError("has a parameter that is not written as in charset=utf-8, in ASCII")
        position = match.end()
        if match[1]:  # A semicolon at the end stands before nothing.
            found.append((match[1].lower(), match[2] or re.sub(r"\\(.)", r"\1", match[3] or "")))
    if len({name for name, _ in found}) < len(found):
        raise MediaTypeError("has a parameter twice")
    return MediaType(essence, tuple(found))


def _quoted(value: str) -> str:
    return value if _TOKEN.fullmatch(value) else '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
