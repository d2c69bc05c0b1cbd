"""Headers with addresses beyond ASCII, as they are in messages with SMTPUTF8 (RFC 6532): raw UTF-8."""

_SEPARATOR = ", "


def raw_utf8(value: str) -> str:
    """The header's value, which `email.mime` then leaves as it is; for a generator whose line end is CRLF.

    Only addresses make it differ from ASCII, for they cannot be written as encoded words. It is folded behind each
    comma: between two addresses, or within a quoted name, where a fold counts as the space that was there.
    """
    if value.isascii():
        return value
    return value.replace(_SEPARATOR, ",\r\n ").encode().decode("ascii", "surrogateescape")
