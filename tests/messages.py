"""Messages for tests."""

from datetime import UTC, datetime
from typing import Any

from relaypost_server.core.message import Address, Attachment, Email, Guarantee, Message, Sms

ID = "01981f00-0000-7000-8000-000000000001"
NOW = datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC)


def email(guarantee: Guarantee = Guarantee.AT_LEAST_ONCE, **changes: Any) -> Message[Email]:
    fields: dict[str, Any] = {
        "sender": Address(email="noreply@example.com", name="Example"),
        "to": (Address(email="ada@example.com", name="Ada"),),
        "subject": "Your code",
        "text": "Your code is 482915",
    }
    return Message(id=ID, content=Email(**fields | changes), create_time=NOW, guarantee=guarantee)


def full_email(**changes: Any) -> Message[Email]:
    """An email with everything in it."""
    return email(
        cc=(Address(email="grace@example.com"),),
        bcc=(Address(email="alan@example.com"),),
        reply_to=(Address(email="help@example.com", name="Hélp"),),
        html='<p>Your code is 482915 <img src="cid:logo"></p>',
        attachments=(
            Attachment(filename="terms.pdf", content=b"%PDF-1.7 terms", content_type="application/pdf"),
            Attachment(filename="logo.png", content=b"\x89PNG logo", content_type="image/png", content_id="logo"),
        ),
        headers={"List-Unsubscribe": "<https://example.com/u?a=1>", "X-Campaign": "signup"},
        tags={"purpose": "signup"},
        **changes,
    )


def sms(guarantee: Guarantee = Guarantee.AT_LEAST_ONCE, **changes: Any) -> Message[Sms]:
    fields: dict[str, Any] = {"to": "+14155550123", "country": "US", "text": "Your code is 482915"}
    return Message(id=ID, content=Sms(**fields | changes), create_time=NOW, guarantee=guarantee)
