"""What Twilio makes of each field of a text message."""

from relaypost_server.providers._fields import OF_TEMPLATES, Fields, carried, emulated, left_out

FIELDS: Fields = {
    **OF_TEMPLATES,
    "to": carried("`To`"),
    "region_code": emulated("the number is written in E.164"),
    "text": carried("`Body`"),
    "sender_id": carried("`From`, but for numbers of the US and Canada"),
    "sender_number": carried("`From`"),
    "message_type": left_out("Twilio makes no difference"),
    "max_price": emulated("checked before"),
    "encoding": emulated("the gateway replaces characters"),
    "india_dlt": left_out("Twilio finds the registered template by the text"),
}
