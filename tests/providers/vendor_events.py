"""Events in the shapes that the vendors document; addresses and ids are made up."""

from typing import Any

from tests.messages import ID


def ses(name: str, part: str = "", message_id: str | None = ID, **about: Any) -> dict[str, Any]:
    """As SES publishes an event to SNS."""
    tags = {"ses:configuration-set": ["relaypost"], "purpose": ["signup"]}
    if message_id:
        tags["relaypost_message_id"] = [message_id]
    return {
        "eventType": name,
        "mail": {
            "timestamp": "2026-07-01T12:00:00.000Z",
            "source": "noreply@example.com",
            "sourceArn": "arn:aws:ses:us-east-1:123456789012:identity/example.com",
            "sendingAccountId": "123456789012",
            "messageId": "0100018f-ses",
            "destination": ["ada@example.com"],
            "headersTruncated": False,
            "headers": [{"name": "Subject", "value": "Your code is 482915"}],
            "commonHeaders": {"from": ["noreply@example.com"], "subject": "Your code is 482915"},
            "tags": tags,
        },
        part or name[:1].lower() + name[1:]: about,
    }


SES_BOUNCE = ses(
    "Bounce",
    feedbackId="0100018f-feedback",
    bounceType="Permanent",
    bounceSubType="General",
    bouncedRecipients=[
        {
            "emailAddress": "ada@example.com",
            "action": "failed",
            "status": "5.1.1",
            "diagnosticCode": "smtp; 550 5.1.1 user unknown",
        }
    ],
    timestamp="2026-07-01T12:00:02.000Z",
    reportingMTA="dsn; mta.example.com",
)
SES_DELIVERY = ses(
    "Delivery",
    timestamp="2026-07-01T12:00:01.500Z",
    processingTimeMillis=1500,
    recipients=["ada@example.com"],
    smtpResponse="250 2.0.0 OK",
    reportingMTA="mta.example.com",
)
SES_DELAY = ses(
    "DeliveryDelay",
    timestamp="2026-07-01T12:00:03.000Z",
    delayType="TransientCommunicationFailure",
    expirationTime="2026-07-02T12:00:00.000Z",
    delayedRecipients=[{"emailAddress": "ada@example.com", "status": "4.4.1", "diagnosticCode": "smtp; 421 4.4.1"}],
)
SES_CLICK = ses(
    "Click",
    ipAddress="192.0.2.1",
    timestamp="2026-07-01T12:05:00.000Z",
    userAgent="Mozilla/5.0",
    link="https://example.com/verify?token=482915",
    linkTags=None,
)


def sendgrid(name: str, number: int = 1, message_id: str | None = ID, **more: Any) -> dict[str, Any]:
    """As SendGrid posts an event within a batch."""
    found = {
        "email": "ada@example.com",
        "timestamp": 1782907200 + number,
        "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
        "event": name,
        "category": ["signup"],
        "sg_event_id": f"sg-event-{name}-{number}",
        "sg_message_id": "14c5d75ce93.filter0001.16648.5515E0B88.0",
        "purpose": "signup",
    }
    return {**found, **({"relaypost_message_id": message_id} if message_id else {}), **more}


def twilio(status: str, **more: str) -> dict[str, str]:
    """As Twilio posts a status callback."""
    return {
        "AccountSid": "AC0123456789abcdef0123456789abcdef",
        "From": "+14155550100",
        "To": "+14155550123",
        "MessageSid": "SM0123456789abcdef0123456789abcdef",
        "SmsSid": "SM0123456789abcdef0123456789abcdef",
        "MessageStatus": status,
        "SmsStatus": status,
        "ApiVersion": "2010-04-01",
        **more,
    }
