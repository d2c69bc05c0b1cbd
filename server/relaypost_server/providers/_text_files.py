"""The charset of attached texts: where none is said, mail programs guess, and often wrongly."""

from codecs import BOM_UTF16_BE, BOM_UTF16_LE

from relaypost_server.core.media_types import MediaType, parse_media_type
from relaypost_server.core.message import Attachment


def media_type_of(attachment: Attachment) -> MediaType:
    """The type as it was given, of a text with a charset where one can be told.

    A text that is not Unicode keeps the type that it has: its charset is not to be told from its bytes.
    """
    found = parse_media_type(attachment.content_type)
    if not found.essence.startswith("text/") or found.get("charset"):
        return found
    charset = unicode_of(attachment.content)
    return found.having("charset", charset) if charset else found


def unicode_of(content: bytes) -> str:
    """The charset of Unicode that a text is in, as far as its bytes tell; "" where it is in none."""
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return "utf-16"
    try:
        content.decode()
    except UnicodeDecodeError:
        return ""
    return "utf-8"
