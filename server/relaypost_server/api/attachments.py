"""Reads the files of an email."""

from collections.abc import Sequence

from relaypost.v1 import email_pb2

from relaypost_server.api.violations import Violations
from relaypost_server.core.media_types import MediaTypeError, parse_media_type
from relaypost_server.core.message import Attachment

MOST_ATTACHMENTS = 20
LONGEST_FILENAME = 255
LONGEST_CONTENT_ID = 78

_DEFAULT_TYPE = "application/octet-stream"
_IDS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@-")


def read_attachments(
    files: Sequence[email_pb2.Attachment], bad: Violations, *, most_bytes: int
) -> tuple[Attachment, ...]:
    """The files, at most `most_bytes` together; none where there are too many."""
    if not files:
        return ()
    if len(files) > MOST_ATTACHMENTS:
        bad.add("email.attachments", f"has {len(files)} files, at most {MOST_ATTACHMENTS} are allowed")
        return ()
    total = sum(len(file.content) for file in files)
    if total > most_bytes:
        bad.add("email.attachments", f"have {total} bytes together, at most {most_bytes} are allowed")
    ids = [file.content_id for file in files if file.content_id]
    if len(set(ids)) < len(ids):
        bad.add("email.attachments", "must not share a content_id")
    return tuple(_attachment(f"email.attachments[{i}]", file, bad) for i, file in enumerate(files))


def _attachment(field: str, file: email_pb2.Attachment, bad: Violations) -> Attachment:
    filename = bad.repaired_line(f"{field}.filename", file.filename, longest=LONGEST_FILENAME, required=True, name=True)
    if "/" in filename or "\\" in filename:
        bad.add(f"{field}.filename", "must not hold a path")
    if len(file.content_id) > LONGEST_CONTENT_ID or not _IDS.issuperset(file.content_id):
        bad.add(f"{field}.content_id", f"must have 1 to {LONGEST_CONTENT_ID} of letters, digits and ._@-")
    return Attachment(
        filename=filename,
        content=file.content,
        content_type=_content_type(f"{field}.content_type", file.content_type, bad),
        content_id=file.content_id,
    )


def _content_type(field: str, text: str, bad: Violations) -> str:
    """The type and its parameters in one form: two spellings of the same are the same request."""
    if not text:
        return _DEFAULT_TYPE
    try:
        found = parse_media_type(text)
    except MediaTypeError as error:
        bad.add(field, str(error))
        return _DEFAULT_TYPE
    if found.essence.startswith(("multipart/", "message/")):
        bad.add(field, "must not be multipart or message: such parts cannot be encoded")
    return str(found)
