"""What SendGrid makes of each field of an email."""

from relaypost_server.providers._fields import OF_TEMPLATES, Fields, carried, unsupported

FIELDS: Fields = {
    **OF_TEMPLATES,
    "sender": carried("`from`; ASCII addresses without quotes"),
    "to": carried("`to`; ASCII addresses without quotes; needed"),
    "cc": carried("`cc`; as `to`"),
    "bcc": carried("`bcc`; as `to`"),
    "reply_to": carried("`reply_to_list`; as `from`"),
    "subject": carried("`subject`"),
    "text": carried("`content`"),
    "html": carried("`content`"),
    "attachments": carried("`attachments`; beside a text of one space where there is no text and no html"),
    "attachments.filename": carried("`filename`"),
    "attachments.content_type": carried(
        "`type`, without parameters but the method of a text/calendar; a text in another charset than UTF-8 is "
        "unsupported"
    ),
    "attachments.content": carried("`content`; an empty file is unsupported"),
    "attachments.content_id": carried("`content_id`"),
    "headers": carried("`headers`, encoded as in RFC 2047"),
    "tags": carried("`custom_args`"),
    "envelope_sender": unsupported("SendGrid sends bounces to itself"),
    "tracking": carried("`tracking_settings`; off switches `ganalytics` off as well"),
}
