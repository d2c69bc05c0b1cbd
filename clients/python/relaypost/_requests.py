"""Builds requests out of plain Python values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Required, TypedDict

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from relaypost._keywords import check_keywords
from relaypost.v1 import (
    email_pb2,
    message_pb2,
    messaging_service_pb2 as pb,
    otp_service_pb2 as otp_pb,
    sms_pb2,
    suppression_service_pb2 as suppression_pb,
)


@dataclass(frozen=True)
class Address:
    """An email address with the name to show beside it."""

    email: str
    name: str = ""


@dataclass(frozen=True)
class Attachment:
    """A file; with a `content_id` an image that the html shows by "cid:CONTENT_ID"."""

    filename: str
    content: bytes
    content_type: str = "application/octet-stream"
    content_id: str = ""


@dataclass(frozen=True)
class IndiaDlt:
    """What India's registry for commercial messages (DLT) gave the sender and the text's template."""

    entity_id: str
    template_id: str


Mailbox = str | Address
Mailboxes = Mailbox | Iterable[Mailbox]


class Words(TypedDict, total=False):
    """A template instead of words of one's own."""

    template: str
    """Its name; `template` and words of one's own exclude one another."""
    variables: Mapping[str, str]
    """The template's variables."""
    locale: str
    """The reader's language, as in "pt-BR", or a list as in the header Accept-Language."""


class Notes(TypedDict, total=False):
    """Fields that the gateway stores with a message."""

    metadata: Mapping[str, str]
    """Notes that stay in the gateway's message log."""


class Options(TypedDict, total=False):
    """Fields of every request that sends one message."""

    at_most_once: bool
    """True: rather no copy than two, where a provider's answer is lost. Default: rather two."""
    request_id: str
    """A name of the caller's for this request, so that it may be repeated safely."""


class BulkEmailFields(Notes, Words, total=False):
    """The arguments of `bulk_email`; `relaypost.v1.Email` documents their bounds."""

    to: Required[Mailboxes]
    subject: str
    """Required, unless `template` gives it."""
    text: str
    html: str
    sender: Mailbox
    cc: Mailboxes
    bcc: Mailboxes
    reply_to: Mailboxes
    attachments: Iterable[Attachment]
    headers: Mapping[str, str]
    tags: Mapping[str, str]
    envelope_sender: str
    """Where bounces go. Default: to the sender."""
    tracking: bool
    """Whether the provider may rewrite links and add a picture. Default: as its account is set."""


class EmailFields(BulkEmailFields, Options, total=False):
    """The arguments of `send_email`."""


class BulkSmsFields(Notes, Words, total=False):
    """The arguments of `bulk_sms`; `relaypost.v1.Sms` documents their bounds."""

    to: Required[str]
    text: str
    """Required, unless `template` gives it."""
    region_code: str
    sender_id: str
    """The name that the phone shows; `sender_id` and `sender_number` exclude one another."""
    sender_number: str
    """A number or short code of yours to send from."""
    gsm7: bool
    """True: characters such as typographic quotes, which would double the price, are replaced by look-alikes."""
    india_dlt: IndiaDlt
    """The registered ids that texts to India need."""
    promotional: bool
    max_price_micros: int
    """The most that the message may cost, in millionths of a US dollar."""


class QueuedSmsOptions(BulkSmsFields, Options, total=False):
    """The arguments that `send_sms` and `enqueue_sms` share."""


class SmsFields(QueuedSmsOptions, total=False):
    """The arguments of `send_sms`."""

    confirm_within: float
    """Seconds, 5 to 600: without a receipt by then the next provider sends it once more."""


class OtpFields(TypedDict, total=False):
    """The arguments of `send_otp`; `relaypost.v1.SendOtpRequest` documents their bounds."""

    email: str
    """Where the code goes; this or `phone`."""
    phone: str
    region_code: str
    """Of a national number in `phone`."""
    sender: Mailbox
    """Who an email comes from. Default: the gateway's own sender."""
    sender_id: str
    """The name that a phone shows. Default: the provider's own number."""
    purpose: Required[str]
    locale: str
    template: str
    variables: Mapping[str, str]
    code_length: int
    ttl: float
    """Seconds."""
    request_id: str
    client_address: str
    """The IP address of the person who asked, by which sends are limited."""
    at_most_once: bool
    confirm_within: float
    """Seconds, 5 to 600: without a sign that it arrived by then the next provider sends the same code once more."""


class MessageQuery(TypedDict, total=False):
    """The arguments of `list_messages`; `relaypost.v1.ListMessagesRequest` documents them."""

    page_size: int
    states: "Iterable[message_pb2.MessageState.ValueType]"
    channel: "message_pb2.Channel.ValueType"
    recipient: str
    provider: str
    created_from: datetime
    created_before: datetime
    request_id: str
    """Of any caller and method; of `send_bulk`: all messages of the batch."""
    tags: Mapping[str, str]
    """Messages with all of these."""
    metadata: Mapping[str, str]


def get_request(message_id: str, provider: str, provider_message_id: str) -> pb.GetMessageRequest:
    return pb.GetMessageRequest(message_id=message_id, provider=provider, provider_message_id=provider_message_id)


def list_request(query: MessageQuery) -> pb.ListMessagesRequest:
    check_keywords(query, MessageQuery)
    return pb.ListMessagesRequest(
        page_size=query.get("page_size", 0),
        states=query.get("states", ()),
        channel=query.get("channel", message_pb2.CHANNEL_UNSPECIFIED),
        recipient=query.get("recipient", ""),
        provider=query.get("provider", ""),
        created_from=_timestamp(query.get("created_from")),
        created_before=_timestamp(query.get("created_before")),
        request_id=query.get("request_id", ""),
        tags=query.get("tags"),
        metadata=query.get("metadata"),
    )


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def _duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    duration = Duration()
    duration.FromMilliseconds(round(seconds * 1000))
    return duration


def email_request(fields: EmailFields) -> pb.SendEmailRequest:
    check_keywords(fields, EmailFields)
    return pb.SendEmailRequest(
        email=email_content(fields),
        delivery_guarantee=guarantee(fields),
        metadata=fields.get("metadata"),
        request_id=fields.get("request_id", ""),
    )


def email_content(fields: BulkEmailFields) -> email_pb2.Email:
    sender = fields.get("sender")
    return email_pb2.Email(
        sender=None if sender is None else _mailbox(sender),
        to=_mailboxes(fields["to"]),
        cc=_mailboxes(fields.get("cc", ())),
        bcc=_mailboxes(fields.get("bcc", ())),
        reply_to=_mailboxes(fields.get("reply_to", ())),
        subject=fields.get("subject", ""),
        text=fields.get("text", ""),
        html=fields.get("html", ""),
        attachments=[_attachment(a) for a in fields.get("attachments", ())],
        headers=fields.get("headers"),
        tags=fields.get("tags"),
        template=fields.get("template", ""),
        variables=fields.get("variables"),
        locale=fields.get("locale", ""),
        envelope_sender=fields.get("envelope_sender", ""),
        tracking=_tracking(fields.get("tracking")),
    )


def _tracking(wanted: bool | None) -> "email_pb2.EmailTracking.ValueType":
    if wanted is None:
        return email_pb2.EMAIL_TRACKING_UNSPECIFIED
    return email_pb2.EMAIL_TRACKING_ON if wanted else email_pb2.EMAIL_TRACKING_OFF


def sms_request(fields: SmsFields) -> pb.SendSmsRequest:
    check_keywords(fields, SmsFields)
    return pb.SendSmsRequest(
        sms=sms_content(fields),
        delivery_guarantee=guarantee(fields),
        metadata=fields.get("metadata"),
        request_id=fields.get("request_id", ""),
        confirm_within=_duration(fields.get("confirm_within")),
    )


def sms_content(fields: BulkSmsFields) -> sms_pb2.Sms:
    promotional, limit = fields.get("promotional", False), fields.get("max_price_micros")
    dlt = fields.get("india_dlt")
    return sms_pb2.Sms(
        to=fields["to"],
        text=fields.get("text", ""),
        region_code=fields.get("region_code", ""),
        sender_id=fields.get("sender_id", ""),
        sender_number=fields.get("sender_number", ""),
        encoding=sms_pb2.SMS_ENCODING_GSM7 if fields.get("gsm7", False) else sms_pb2.SMS_ENCODING_UNSPECIFIED,
        india_dlt=None if dlt is None else _india_dlt(dlt),
        message_type=sms_pb2.SMS_MESSAGE_TYPE_PROMOTIONAL if promotional else sms_pb2.SMS_MESSAGE_TYPE_TRANSACTIONAL,
        max_price=None if limit is None else message_pb2.Money(currency_code="USD", micros=limit),
        template=fields.get("template", ""),
        variables=fields.get("variables"),
        locale=fields.get("locale", ""),
    )


def otp_request(fields: OtpFields) -> otp_pb.SendOtpRequest:
    check_keywords(fields, OtpFields)
    email, phone = fields.get("email"), fields.get("phone")
    if email is not None and phone is not None:
        raise ValueError("a code goes to an email address or to a phone, not to both")
    sender = fields.get("sender")
    request = otp_pb.SendOtpRequest(
        sender=None if sender is None else _mailbox(sender),
        sender_id=fields.get("sender_id", ""),
        purpose=fields["purpose"],
        locale=fields.get("locale", ""),
        template=fields.get("template", ""),
        variables=fields.get("variables"),
        code_length=fields.get("code_length", 0),
        request_id=fields.get("request_id", ""),
        client_address=fields.get("client_address", ""),
        delivery_guarantee=guarantee(fields),
        ttl=_duration(fields.get("ttl")),
        confirm_within=_duration(fields.get("confirm_within")),
    )
    if email is not None:
        request.email_address = email
    if phone is not None:
        request.phone.number, request.phone.region_code = phone, fields.get("region_code", "")
    return request


class SuppressionQuery(TypedDict, total=False):
    """Which entries of the suppression list to fetch."""

    address: str
    """An email address, or a phone number in E.164."""
    reason: str
    """"bounced", "complained", "unsubscribed" or "manual"."""
    source: str
    """"event", "provider" or "manual"."""
    provider: str
    """The provider that told."""


def add_suppression_request(
    address: str, *, reason: str, note: str, expire_time: datetime | None, all_callers: bool
) -> suppression_pb.AddSuppressionRequest:
    request = suppression_pb.AddSuppressionRequest(
        address=address, reason=suppression_reason(reason), note=note, all_callers=all_callers
    )
    if expire_time is not None:
        request.expire_time.FromDatetime(expire_time)
    return request


def suppressions_request(query: SuppressionQuery) -> suppression_pb.ListSuppressionsRequest:
    check_keywords(query, SuppressionQuery)
    return suppression_pb.ListSuppressionsRequest(
        page_size=500,
        address=query.get("address", ""),
        reason=suppression_reason(query.get("reason", "")),
        source=suppression_source(query.get("source", "")),
        provider=query.get("provider", ""),
    )


def suppression_reason(name: str) -> "suppression_pb.SuppressionReason.ValueType":
    """The reason of a name such as "bounced"; "" for none. Raises ValueError."""
    return suppression_pb.SuppressionReason.Value(f"SUPPRESSION_REASON_{(name or 'unspecified').upper()}")


def suppression_source(name: str) -> "suppression_pb.SuppressionSource.ValueType":
    """The source of a name such as "event"; "" for none. Raises ValueError."""
    return suppression_pb.SuppressionSource.Value(f"SUPPRESSION_SOURCE_{(name or 'unspecified').upper()}")


def _mailboxes(given: Mailboxes) -> list[email_pb2.EmailAddress]:
    if isinstance(given, str | Address):
        return [_mailbox(given)]
    if isinstance(given, Mapping | bytes):
        raise TypeError(f"addresses are given as str or relaypost.Address, or a list of them, not as {_kind(given)}")
    return [_mailbox(m) for m in given]


def _mailbox(given: Mailbox) -> email_pb2.EmailAddress:
    match given:
        case str():
            return email_pb2.EmailAddress(address=given)
        case Address():
            return email_pb2.EmailAddress(address=given.email, display_name=given.name)
    raise TypeError(f"an address is given as str or relaypost.Address, not as {_kind(given)}")


def _attachment(given: Attachment) -> email_pb2.Attachment:
    if not isinstance(given, Attachment):
        raise TypeError(f"an attachment is given as relaypost.Attachment, not as {_kind(given)}")
    return email_pb2.Attachment(
        filename=given.filename,
        content=given.content,
        content_type=given.content_type,
        content_id=given.content_id,
    )


def _india_dlt(given: IndiaDlt) -> sms_pb2.IndiaDlt:
    if not isinstance(given, IndiaDlt):
        raise TypeError(f"india_dlt is given as relaypost.IndiaDlt, not as {_kind(given)}")
    return sms_pb2.IndiaDlt(entity_id=given.entity_id, template_id=given.template_id)


def _kind(given: object) -> str:
    return type(given).__name__


def guarantee(options: Options | OtpFields) -> "message_pb2.DeliveryGuarantee.ValueType":
    if options.get("at_most_once", False):
        return message_pb2.DELIVERY_GUARANTEE_AT_MOST_ONCE
    return message_pb2.DELIVERY_GUARANTEE_AT_LEAST_ONCE
