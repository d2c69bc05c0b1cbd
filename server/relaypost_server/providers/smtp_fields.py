"""What an SMTP server is given of each field of an email."""

from relaypost_server.providers._fields import OF_TEMPLATES, Fields, carried, emulated

FIELDS: Fields = {
    **OF_TEMPLATES,
    "sender": carried("`From`, and MAIL FROM; other addresses than ASCII where the server offers SMTPUTF8"),
    "to": carried("`To`, and RCPT TO; addresses as the sender's"),
    "cc": carried("`Cc`, and RCPT TO; as `to`"),
    "bcc": carried("RCPT TO alone; as `to`"),
    "reply_to": carried("`Reply-To`; addresses as the sender's"),
    "subject": carried("`Subject`"),
    "text": carried("a part of type text/plain"),
    "html": carried("a part of type text/html"),
    "attachments": carried("parts of a multipart/mixed or, inline, multipart/related"),
    "attachments.filename": carried("`Content-Disposition`, as in RFC 2231"),
    "attachments.content_type": carried("`Content-Type`; of texts with a charset"),
    "attachments.content": carried("base64; may be empty"),
    "attachments.content_id": carried("`Content-ID`"),
    "headers": carried("encoded as in RFC 2047"),
    "tags": emulated("headers `X-Relaypost-Tag-<name>`"),
    "envelope_sender": carried("MAIL FROM"),
    "tracking": emulated("off needs nothing; on is unsupported"),
}
