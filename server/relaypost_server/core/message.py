"""What can be sent, and what is known about it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Generic, Self, TypeVar

from relaypost_server.core.adjustments import Adjustment
from relaypost_server.core.money import Money
from relaypost_server.core.value import value


class Channel(StrEnum):
    """The medium that carries a message."""

    EMAIL = "email"
    SMS = "sms"


class Guarantee(StrEnum):
    """What to do when a provider may or may not have taken the message."""

    AT_LEAST_ONCE = "at_least_once"
    """Go on to the next provider; the recipient may get two copies."""
    AT_MOST_ONCE = "at_most_once"
    """Stop; the message stays unconfirmed."""


class MessageState(StrEnum):
    """What is known about a message."""

    SENDING = "sending"
    SENT = "sent"
    UNCONFIRMED = "unconfirmed"
    REJECTED = "rejected"
    FAILED = "failed"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    QUEUED = "queued"
    CANCELLED = "cancelled"
    DEAD = "dead"


class SmsType(StrEnum):
    """What a text message is for; providers route and price by it."""

    TRANSACTIONAL = "transactional"
    PROMOTIONAL = "promotional"


class Tracking(StrEnum):
    """Whether the provider tells opened emails and followed links."""

    OFF = "off"
    ON = "on"


@value(frozen=True, slots=True, kw_only=True)
class IndiaDlt:
    """What India's registry for commercial messages asks of each text: the ids of the sender and the template."""

    entity_id: str
    template_id: str


@value(frozen=True, slots=True, kw_only=True)
class Address:
    """An email address (ASCII, validated) with an optional name."""

    email: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file of an email; with a content id it is shown inside the html."""

    filename: str
    content: bytes = field(repr=False)
    content_type: str = "application/octet-stream"
    content_id: str = ""

    @property
    def inline(self) -> bool:
        return bool(self.content_id)


@value(frozen=True, slots=True, kw_only=True)
class Email:
    """The content of an email; every field is validated."""

    sender: Address
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    subject: str = field(repr=False)
    text: str = field(default="", repr=False)
    html: str = field(default="", repr=False)
    attachments: tuple[Attachment, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    envelope_sender: str = ""
    """Where bounces go: the MAIL FROM of SMTP; "" for the sender's address."""
    tracking: Tracking | None = None
    """None: as the provider's account is set."""

    channel = Channel.EMAIL
    country = ""

    @property
    def recipients(self) -> tuple[str, ...]:
        """Every address that gets a copy: to, then cc, then bcc."""
        return tuple([a.email for a in (*self.to, *self.cc, *self.bcc)])

    def only_to(self, recipients: Collection[str]) -> Self:
        """The same email for these recipients alone."""
        keep = frozenset(recipients)

        def kept(addresses: tuple[Address, ...]) -> tuple[Address, ...]:
            return tuple(a for a in addresses if a.email in keep)

        to, cc = kept(self.to), kept(self.cc)
        if not to:  # SendGrid takes no email that is to nobody.
            to, cc = cc, ()
        return replace(self, to=to, cc=cc, bcc=kept(self.bcc))


@value(frozen=True, slots=True, kw_only=True)
class Sms:
    """The content of a text message; every field is validated."""

    to: str
    """E.164, for example "+14155550123"."""
    country: str
    """ISO 3166-1 alpha-2 code of the number's country; "" for none."""
    text: str = field(repr=False)
    sender_id: str = ""
    sender_number: str = ""
    """A number (E.164) or short code (digits) of the account's to send from; "" for the provider's default."""
    type: SmsType = SmsType.TRANSACTIONAL
    max_price: Money | None = None
    validity: float | None = None
    """Seconds after which it is not worth delivering any more."""
    india_dlt: IndiaDlt | None = None

    channel = Channel.SMS
    tags: ClassVar[Mapping[str, str]] = {}

    @property
    def recipients(self) -> tuple[str, ...]:
        return (self.to,)

    def only_to(self, recipients: Collection[str]) -> Self:
        """The same message, for it has but one recipient."""
        return self


Content = TypeVar("Content", Email, Sms)


@value(frozen=True, slots=True, kw_only=True)
class Message(Generic[Content]):
    """A request to send, taken on by the gateway."""

    id: str
    """A UUID of version 7."""
    content: Content
    create_time: datetime
    guarantee: Guarantee = Guarantee.AT_LEAST_ONCE
    metadata: Mapping[str, str] = field(default_factory=dict)
    caller: str = ""
    """The service that asked for it; "" for one that does not say who it is."""
    adjustments: tuple[Adjustment, ...] = ()
    """What was changed in the content when the request was read."""

    def only_to(self, recipients: Collection[str]) -> "Message[Content]":
        """The same message for these recipients alone."""
        return replace(self, content=self.content.only_to(recipients))
