"""What Amazon SNS makes of each field of a text message."""

from relaypost_server.providers._fields import OF_TEMPLATES, Fields, carried, emulated

FIELDS: Fields = {
    **OF_TEMPLATES,
    "to": carried("`PhoneNumber`"),
    "region_code": emulated("the number is written in E.164"),
    "text": carried("`Message`"),
    "sender_id": carried("`AWS.SNS.SMS.SenderID`"),
    "sender_number": carried("`AWS.MM.SMS.OriginationNumber`"),
    "message_type": carried("`AWS.SNS.SMS.SMSType`"),
    "max_price": carried("checked before, and `AWS.SNS.SMS.MaxPrice`"),
    "encoding": emulated("the gateway replaces characters"),
    "india_dlt": carried("`AWS.MM.SMS.EntityId`, `AWS.MM.SMS.TemplateId`"),
}
