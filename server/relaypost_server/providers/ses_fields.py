"""What Amazon SES makes of each field of an email."""

from relaypost_server.providers._fields import OF_TEMPLATES, Fields, carried, emulated

FIELDS: Fields = {
    **OF_TEMPLATES,
    "sender": carried("`FromEmailAddress`; ASCII addresses without spaces; a long name is shortened"),
    "to": carried("`ToAddresses`; ASCII addresses without spaces; long names are shortened"),
    "cc": carried("`CcAddresses`; as `to`"),
    "bcc": carried("`BccAddresses`; as `to`"),
    "reply_to": carried("`ReplyToAddresses`; as `to`"),
    "subject": carried("`Subject`"),
    "text": carried("`Body.Text`"),
    "html": carried("`Body.Html`"),
    "attachments": carried("`Attachments`; beside a text of one space where there is no text and no html"),
    "attachments.filename": carried("`FileName`"),
    "attachments.content_type": carried("`ContentType`, of at most 78 characters; of texts with a charset"),
    "attachments.content": carried("`RawContent`; may be empty"),
    "attachments.content_id": carried("`ContentId`"),
    "headers": carried("`Headers`, encoded as in RFC 2047; at most 996 characters then"),
    "tags": carried("`EmailTags`"),
    "envelope_sender": emulated(
        "`FeedbackForwardingEmailAddress`: SES forwards bounces there, where it is verified; MAIL FROM stays SES's"
    ),
    "tracking": carried("`ConfigurationOverrides.Tracking`"),
}
