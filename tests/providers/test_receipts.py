"""What each provider's callbacks report, and which of them are believed."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from relaypost_server.core.delivery import DeliveryEvent, EventType, RejectReason
from relaypost_server.core.ports import (
    Callback,
    CallbackReader,
    CallbackRefusedError,
    CallbackUnverifiedError,
    Disbelief,
)
from relaypost_server.core.senders import SmsSender
from relaypost_server.providers import _sns_certificates
from relaypost_server.providers._sendgrid_settings import SendGridSettings
from relaypost_server.providers._ses_settings import SesSettings
from relaypost_server.providers._twilio_settings import TwilioSettings
from relaypost_server.providers.sendgrid import SendGrid
from relaypost_server.providers.ses import Ses
from relaypost_server.providers.smtp import Smtp
from relaypost_server.providers.twilio import Twilio, request_form
from relaypost_server.settings import read
from tests import messages
from tests.messages import ID
from tests.providers import vendor_events as vendor
from tests.providers.configured import AWS, SECRETS, TWILIO
from tests.signing import (
    PUBLIC_URL,
    SNS,
    TOPIC,
    SendGridKey,
    SnsTopic,
    callback,
    certificate_for,
    stamp,
    twilio_callback,
    utc_now,
)

NAME = "SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
STRANGER = rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def signer() -> SnsTopic:
    return SnsTopic()


@pytest.fixture
def topic(signer: SnsTopic) -> SnsTopic:
    return SnsTopic(key=signer.key)


@pytest.fixture(scope="module")
def webhook() -> SendGridKey:
    return SendGridKey()


@pytest.fixture
def ses(topic: SnsTopic, aws_keys: None) -> Ses:
    return ses_with(topic, RELAYPOST_SES_TOPIC_ARN=TOPIC)


def ses_with(topic: SnsTopic, **environ: str) -> Ses:
    settings, problems = read(SesSettings, AWS | environ)
    assert settings is not None, problems
    return Ses(settings, topic)


def sendgrid_with(**environ: str) -> SendGrid:
    settings, problems = read(SendGridSettings, {"SENDGRID_API_KEY": SECRETS["SENDGRID_API_KEY"]} | environ)
    assert settings is not None, problems
    return SendGrid(settings)


def twilio_with(**environ: str) -> Twilio:
    settings, problems = read(TwilioSettings, TWILIO | environ)
    assert settings is not None, problems
    return Twilio(settings)


async def refusal(reader: CallbackReader, made: Callback) -> Disbelief:
    with pytest.raises(CallbackRefusedError) as caught:
        await reader.read_callback(made)
    return caught.value.why


def batch(webhook: SendGridKey, *events: Mapping[str, Any], at: float | None = None) -> Callback:
    body = json.dumps(events).encode()
    return callback(body, webhook.headers(body, at=at))


# SES

EVERYONE = ["Ada <ada@example.com>", "B@example.com", "c@example.com"]


@pytest.mark.parametrize(
    ("event", "named"),
    [
        (vendor.ses("Delivery", recipients=["B@example.com"]), ("b@example.com",)),
        (vendor.ses("Bounce", bouncedRecipients=[{"emailAddress": "c@example.com"}]), ("c@example.com",)),
        (vendor.ses("Complaint", complainedRecipients=[{"emailAddress": "b@example.com"}]), ("b@example.com",)),
        (vendor.ses("DeliveryDelay", delayedRecipients=[{"emailAddress": "b@example.com"}]), ("b@example.com",)),
        (vendor.ses("Send"), ("ada@example.com", "b@example.com", "c@example.com")),
        (vendor.ses("Reject"), ("ada@example.com", "b@example.com", "c@example.com")),
        (vendor.ses("Open"), ()),
        (vendor.ses("Click"), ()),
        (vendor.ses("Something new"), ()),
        (vendor.ses("Delivery", recipients=[{"unexpected": 1}, 5, None]), ()),
    ],
)
async def test_an_event_of_ses_names_whom_it_is_about(
    ses: Ses, topic: SnsTopic, event: dict[str, Any], named: tuple[str, ...]
) -> None:
    event["mail"]["destination"] = EVERYONE
    assert (await ses_event(ses, topic, event)).recipients == named


async def test_an_opened_email_to_one_person_names_that_person(ses: Ses, topic: SnsTopic) -> None:
    assert (await ses_event(ses, topic, vendor.ses("Open"))).recipients == ("ada@example.com",)


async def ses_event(ses: Ses, topic: SnsTopic, event: Mapping[str, Any]) -> DeliveryEvent:
    [found] = await ses.read_callback(callback(topic.notification(event)))
    return found


@pytest.mark.parametrize(
    ("event", "kind", "code", "reason", "permanent"),
    [
        (vendor.ses("Send"), EventType.SENT, "Send", None, True),
        (vendor.SES_DELIVERY, EventType.DELIVERED, "Delivery", None, True),
        (vendor.SES_DELAY, EventType.DEFERRED, "DeliveryDelay", None, True),
        (vendor.SES_BOUNCE, EventType.BOUNCED, "Permanent/General", RejectReason.BOUNCED, True),
        (
            vendor.ses("Bounce", bounceType="Permanent", bounceSubType="NoEmail"),
            EventType.BOUNCED,
            "Permanent/NoEmail",
            RejectReason.INVALID,
            True,
        ),
        (
            vendor.ses("Bounce", bounceType="Transient", bounceSubType="ContentRejected"),
            EventType.BOUNCED,
            "Transient/ContentRejected",
            RejectReason.BLOCKED,
            False,
        ),
        (
            vendor.ses("Complaint", complaintFeedbackType="abuse"),
            EventType.COMPLAINED,
            "Complaint",
            RejectReason.SPAM,
            True,
        ),
        (vendor.ses("Reject", reason="Bad content"), EventType.FAILED, "Reject", RejectReason.BLOCKED, True),
        (
            vendor.ses("Rendering Failure", "failure", errorMessage="Attribute 'x' is not present"),
            EventType.FAILED,
            "Rendering Failure",
            RejectReason.OTHER,
            True,
        ),
        (vendor.ses("Open", ipAddress="192.0.2.1"), EventType.OPENED, "Open", None, True),
        (vendor.SES_CLICK, EventType.CLICKED, "Click", None, True),
        (vendor.ses("Something new"), EventType.OTHER, "Something new", None, True),
    ],
    ids=lambda value: value["eventType"] if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("version", ["1", "2"])
async def test_ses_events(
    ses: Ses,
    topic: SnsTopic,
    event: dict[str, Any],
    kind: EventType,
    code: str,
    reason: RejectReason | None,
    permanent: bool,
    version: str,
) -> None:
    [found] = await ses.read_callback(callback(topic.notification(event, version=version)))
    assert (found.type, found.provider_code, found.reject_reason, found.permanent) == (kind, code, reason, permanent)
    assert (found.provider, found.message_id, found.provider_message_id) == ("ses", ID, "0100018f-ses")
    assert found.event_id == "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"


async def test_what_ses_reports_is_kept_without_text_and_links(ses: Ses, topic: SnsTopic) -> None:
    bounce = await ses_event(ses, topic, vendor.SES_BOUNCE)
    assert bounce.detail == "smtp; [number] user unknown"
    assert bounce.time.isoformat() == "2026-07-01T12:00:02+00:00"
    assert bounce.raw["event"]["bouncedRecipients"][0]["status"] == "5.1.1"
    for event in (vendor.SES_BOUNCE, vendor.SES_CLICK):
        assert "482915" not in json.dumps((await ses_event(ses, topic, event)).raw)


@pytest.mark.parametrize(
    "message",
    [
        json.dumps(vendor.ses("Send", message_id=None)),
        json.dumps(vendor.ses("Send", message_id="not an id")),
        json.dumps({"notificationType": "Delivery", "mail": {"messageId": "x"}}),
        "Successfully validated SNS topic for Amazon SES event publishing.",
    ],
)
async def test_what_is_about_no_message_of_ours_is_passed_over(ses: Ses, topic: SnsTopic, message: str) -> None:
    body = json.dumps(topic.message(Message=message)).encode()
    assert await ses.read_callback(callback(body)) == []


async def test_the_certificate_is_fetched_once(ses: Ses, topic: SnsTopic) -> None:
    for _ in range(3):
        await ses_event(ses, topic, vendor.SES_DELIVERY)
    assert topic.fetched == [topic.certificate_url]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"Signature": None}, Disbelief.UNSIGNED),
        ({"Signature": "AAAA"}, Disbelief.FORGED),
        ({"Signature": "no base64!"}, Disbelief.FORGED),
        ({"SignatureVersion": "3"}, Disbelief.FORGED),
        ({"SignatureVersion": "1"}, Disbelief.FORGED),
        ({"Message": json.dumps(vendor.SES_BOUNCE)}, Disbelief.FORGED),
        ({"MessageId": "another"}, Disbelief.FORGED),
        ({"Subject": "added"}, Disbelief.FORGED),
        ({"TopicArn": TOPIC + "-other"}, Disbelief.FOREIGN),
        ({"Type": "SubscriptionConfirmation"}, Disbelief.MALFORMED),
        ({"Type": "Other"}, Disbelief.MALFORMED),
        ({"Timestamp": 7}, Disbelief.MALFORMED),
    ],
    ids=str,
)
async def test_a_changed_message_is_refused(ses: Ses, topic: SnsTopic, changes: dict[str, Any], why: Disbelief) -> None:
    signed = topic.message(Message=json.dumps(vendor.SES_DELIVERY)) | changes
    body = json.dumps({name: value for name, value in signed.items() if value is not None}).encode()
    assert await refusal(ses, callback(body)) is why


async def test_a_strangers_signature_is_refused(ses: Ses, topic: SnsTopic) -> None:
    assert await refusal(ses, callback(topic.notification(vendor.SES_DELIVERY, key=STRANGER))) is Disbelief.FORGED


@pytest.mark.parametrize(
    "url",
    [
        f"https://evil.example/{NAME}",
        f"http://sns.us-east-1.amazonaws.com/{NAME}",
        f"https://sns.us-east-1.amazonaws.com.evil.example/{NAME}",
        f"https://sns.us-east-1.amazonaws.com:8443/{NAME}",
        f"https://sns.us-east-1.amazonaws.com@evil.example/{NAME}",
        f"https://user@sns.us-east-1.amazonaws.com/{NAME}",
        f"https://sns.eu-west-1.amazonaws.com/{NAME}",
        f"{SNS}/{NAME}?redirect=https://evil.example",
        f"{SNS}/{NAME}#y",
        f"{SNS}/a/../{NAME}",
        f"{SNS}/?Action=ConfirmSubscription",
        f"{SNS}/{NAME}\n",
        f"{SNS}/x.pem",
        f"{SNS}/{NAME.upper()}",
        f"{SNS}/{NAME.replace('-', '-0')}",
        f"{SNS}//{NAME}",
        f"{SNS}/%2e/{NAME}",
        "https://[",
        "",
        None,
    ],
)
async def test_a_certificate_from_elsewhere_is_not_even_fetched(ses: Ses, topic: SnsTopic, url: str | None) -> None:
    """Each is a certificate that would fit: the signature is good, if only one looked there."""
    if url:
        topic.pages[url] = certificate_for(STRANGER)
    forged = topic.notification(vendor.SES_DELIVERY, key=STRANGER, SigningCertURL=url)
    assert await refusal(ses, callback(forged)) is Disbelief.FORGED
    assert topic.fetched == []


async def test_a_certificate_that_has_ended_is_refused(ses: Ses, topic: SnsTopic) -> None:
    topic.pages[topic.certificate_url] = certificate_for(topic.key, days=-1)
    assert await refusal(ses, callback(topic.notification(vendor.SES_DELIVERY))) is Disbelief.FORGED


@pytest.mark.parametrize("page", [None, b"<html>"])
async def test_without_a_certificate_the_message_is_to_be_repeated(
    ses: Ses, topic: SnsTopic, page: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sns_certificates, "MISSING_SECONDS", 0.0)
    good = topic.pages.pop(topic.certificate_url)
    if page is not None:
        topic.pages[topic.certificate_url] = page
    made = callback(topic.notification(vendor.SES_DELIVERY))
    with pytest.raises(CallbackUnverifiedError):
        await ses.read_callback(made)
    topic.pages[topic.certificate_url] = good
    assert len(await ses.read_callback(made)) == 1


@pytest.mark.parametrize(("age", "stale"), [(3800, False), (4000, True), (-3800, False), (-4000, True)])
async def test_the_time_that_sns_signed_must_be_near(ses: Ses, topic: SnsTopic, age: float, stale: bool) -> None:
    made = callback(topic.notification(vendor.SES_DELIVERY, Timestamp=stamp(utc_now() - timedelta(seconds=age))))
    if stale:
        assert await refusal(ses, made) is Disbelief.STALE
    else:
        assert len(await ses.read_callback(made)) == 1


CONFIRM = f"{SNS}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37f"


def confirmation(topic: SnsTopic, **changes: Any) -> Callback:
    parts = {
        "Type": "SubscriptionConfirmation",
        "Token": "2336412f37f",
        "Message": "You have chosen to subscribe to the topic.",
        "SubscribeURL": CONFIRM,
    }
    return callback(json.dumps(topic.message(**parts | changes)).encode())


async def test_a_subscription_is_confirmed(ses: Ses, topic: SnsTopic) -> None:
    topic.pages[CONFIRM] = b"<ConfirmSubscriptionResponse/>"
    assert await ses.read_callback(confirmation(topic)) == []
    assert topic.fetched == [topic.certificate_url, CONFIRM]


async def test_a_confirmation_that_fails_is_to_be_repeated(ses: Ses, topic: SnsTopic) -> None:
    with pytest.raises(CallbackUnverifiedError):
        await ses.read_callback(confirmation(topic))


async def test_a_subscription_is_confirmed_nowhere_else(ses: Ses, topic: SnsTopic) -> None:
    elsewhere = "https://sns.us-east-1.amazonaws.com.evil.example/?Action=ConfirmSubscription"
    assert await refusal(ses, confirmation(topic, SubscribeURL=elsewhere)) is Disbelief.FORGED
    assert await refusal(ses, confirmation(topic, key=STRANGER)) is Disbelief.FORGED
    assert topic.fetched == [topic.certificate_url]


async def test_the_end_of_a_subscription_confirms_nothing(ses: Ses, topic: SnsTopic) -> None:
    assert await ses.read_callback(confirmation(topic, Type="UnsubscribeConfirmation")) == []
    assert topic.fetched == [topic.certificate_url]


async def test_a_topic_in_china_has_its_own_host(topic: SnsTopic, aws_keys: None) -> None:
    arn, base = TOPIC.replace("aws:sns:us-east-1", "aws-cn:sns:cn-north-1"), "https://sns.cn-north-1.amazonaws.com.cn"
    china = SnsTopic(base=base, key=topic.key)
    made = callback(china.notification(vendor.SES_DELIVERY, TopicArn=arn))
    assert len(await ses_with(china, RELAYPOST_SES_TOPIC_ARN=arn).read_callback(made)) == 1


async def test_without_a_topic_nothing_is_believed(topic: SnsTopic, aws_keys: None) -> None:
    assert await refusal(ses_with(topic), callback(topic.notification(vendor.SES_DELIVERY))) is Disbelief.NOT_SET_UP


# SendGrid


@pytest.mark.parametrize(
    ("event", "kind", "code", "reason", "permanent"),
    [
        (vendor.sendgrid("processed"), EventType.SENT, "processed", None, True),
        (vendor.sendgrid("delivered", response="250 OK"), EventType.DELIVERED, "delivered", None, True),
        (
            vendor.sendgrid("deferred", response="400 try again", attempt="5"),
            EventType.DEFERRED,
            "deferred",
            None,
            True,
        ),
        (
            vendor.sendgrid("bounce", reason="550 5.1.1 unknown", status="5.1.1", type="bounce"),
            EventType.BOUNCED,
            "5.1.1",
            RejectReason.BOUNCED,
            True,
        ),
        (
            vendor.sendgrid("bounce", reason="550 5.7.1 policy", status="5.7.1", type="blocked"),
            EventType.BOUNCED,
            "5.7.1",
            RejectReason.BLOCKED,
            False,
        ),
        (
            vendor.sendgrid("dropped", reason="Bounced Address", status="5.0.0"),
            EventType.FAILED,
            "5.0.0",
            RejectReason.BOUNCED,
            True,
        ),
        (vendor.sendgrid("open", useragent="Mozilla/4.0", ip="192.0.2.1"), EventType.OPENED, "open", None, True),
        (
            vendor.sendgrid("click", url="https://example.com/?token=482915"),
            EventType.CLICKED,
            "click",
            None,
            True,
        ),
        (vendor.sendgrid("spamreport"), EventType.COMPLAINED, "spamreport", RejectReason.SPAM, True),
        (vendor.sendgrid("unsubscribe"), EventType.UNSUBSCRIBED, "unsubscribe", RejectReason.UNSUBSCRIBED, True),
        (vendor.sendgrid("group_resubscribe"), EventType.OTHER, "group_resubscribe", None, True),
    ],
    ids=lambda value: value["event"] if isinstance(value, dict) else "",
)
async def test_sendgrid_events(
    webhook: SendGridKey,
    event: dict[str, Any],
    kind: EventType,
    code: str,
    reason: RejectReason | None,
    permanent: bool,
) -> None:
    reader = sendgrid_with(RELAYPOST_SENDGRID_WEBHOOK_KEY=webhook.public)
    [found] = await reader.read_callback(batch(webhook, event))
    assert (found.type, found.provider_code, found.reject_reason, found.permanent) == (kind, code, reason, permanent)
    assert (found.provider, found.message_id, found.provider_message_id) == ("sendgrid", ID, "14c5d75ce93")
    assert found.event_id == event["sg_event_id"]
    assert found.time.timestamp() == event["timestamp"]
    assert "482915" not in json.dumps(found.raw)


async def test_sendgrid_events_of_other_senders_are_passed_over(webhook: SendGridKey) -> None:
    reader = sendgrid_with(RELAYPOST_SENDGRID_WEBHOOK_KEY=webhook.public)
    others = [vendor.sendgrid("delivered", message_id=None), {"event": "delivered"}, vendor.sendgrid("open", 2)]
    assert len(await reader.read_callback(batch(webhook, *others))) == 1


@pytest.mark.parametrize("timestamp", ["x", None, 10**20, float("1e300"), {}])
async def test_an_event_without_a_good_time_keeps_its_batch(webhook: SendGridKey, timestamp: object) -> None:
    reader = sendgrid_with(RELAYPOST_SENDGRID_WEBHOOK_KEY=webhook.public)
    made = batch(webhook, vendor.sendgrid("delivered", timestamp=timestamp), vendor.sendgrid("open", 2))
    first, second = await reader.read_callback(made)
    assert (first.time, second.time.timestamp()) == (made.receive_time, 1782907202)


async def test_nul_does_not_reach_the_database(webhook: SendGridKey) -> None:
    reader = sendgrid_with(RELAYPOST_SENDGRID_WEBHOOK_KEY=webhook.public)
    hostile = vendor.sendgrid("bounce", reason="a\0b", status="5\0", category=["c\0"], sg_event_id="e\0")
    [found] = await reader.read_callback(batch(webhook, hostile))
    assert "\0" not in found.detail + found.provider_code + found.event_id
    assert "u0000" not in json.dumps(found.raw)


async def test_the_raw_body_counts(webhook: SendGridKey) -> None:
    """The same JSON in other bytes is not what was signed."""
    reader = sendgrid_with(RELAYPOST_SENDGRID_WEBHOOK_KEY=webhook.public)
    made = batch(webhook, vendor.sendgrid("delivered", reason="é"))
    assert len(await reader.read_callback(made)) == 1
    rewritten = replace(made, body=json.dumps(json.loads(made.body), indent=1).encode())
    assert await refusal(reader, rewritten) is Disbelief.FORGED


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda m: replace(m, headers={}), Disbelief.UNSIGNED),
        (lambda m: replace(m, headers={**m.headers, "x-twilio-email-event-webhook-signature": ""}), Disbelief.UNSIGNED),
        (lambda m: replace(m, headers={**m.headers, "x-twilio-email-event-webhook-signature": "x"}), Disbelief.FORGED),
        (lambda m: replace(m, headers={**m.headers, "x-twilio-email-event-webhook-timestamp": "1"}), Disbelief.FORGED),
        (lambda m: replace(m, body=m.body.replace(b"delivered", b"bounce")), Disbelief.FORGED),
        (lambda m: replace(m, body=b"\xff" + m.body), Disbelief.FORGED),
    ],
)
async def test_a_changed_batch_is_refused(
    webhook: SendGridKey, change: Callable[[Callback], Callback], why: Disbelief
) -> None:
    reader = sendgrid_with(RELAYPOST_SENDGRID_WEBHOOK_KEY=webhook.public)
    assert await refusal(reader, change(batch(webhook, vendor.sendgrid("delivered")))) is why


async def test_batches_by_another_key_or_for_no_key_are_refused(webhook: SendGridKey) -> None:
    reader, made = sendgrid_with(RELAYPOST_SENDGRID_WEBHOOK_KEY=webhook.public), vendor.sendgrid("delivered")
    assert await refusal(reader, batch(SendGridKey(), made)) is Disbelief.FORGED
    assert await refusal(sendgrid_with(), batch(webhook, made)) is Disbelief.NOT_SET_UP


@pytest.mark.parametrize(("age", "stale"), [(280, False), (320, True), (-280, False), (-320, True)])
async def test_the_time_that_sendgrid_signed_must_be_near(webhook: SendGridKey, age: float, stale: bool) -> None:
    reader = sendgrid_with(RELAYPOST_SENDGRID_WEBHOOK_KEY=webhook.public)
    made = batch(webhook, vendor.sendgrid("delivered"), at=time.time() - age)
    if stale:
        assert await refusal(reader, made) is Disbelief.STALE
    else:
        assert len(await reader.read_callback(made)) == 1


@pytest.mark.parametrize("body", [b"{}", b"[", b"", b"null"])
async def test_signed_nonsense_is_refused(webhook: SendGridKey, body: bytes) -> None:
    reader = sendgrid_with(RELAYPOST_SENDGRID_WEBHOOK_KEY=webhook.public)
    assert await refusal(reader, callback(body, webhook.headers(body))) is Disbelief.MALFORMED


def test_a_key_may_come_in_its_armour_and_must_be_one(webhook: SendGridKey) -> None:
    armoured = f"-----BEGIN PUBLIC KEY-----\n{webhook.public}\n-----END PUBLIC KEY-----"
    for given in (armoured, armoured.replace("\n", "\\n"), webhook.public):
        settings, _ = read(SendGridSettings, {"RELAYPOST_SENDGRID_WEBHOOK_KEY": given})
        assert settings is not None
        assert settings.webhook_key == webhook.public
    _, [problem] = read(SendGridSettings, {"RELAYPOST_SENDGRID_WEBHOOK_KEY": "SG.key"})
    assert problem.setting == "RELAYPOST_SENDGRID_WEBHOOK_KEY"


# Twilio


@pytest.mark.parametrize(
    ("form", "kind", "reason", "permanent", "alert"),
    [
        (vendor.twilio("queued"), EventType.SENT, None, True, False),
        (vendor.twilio("sent"), EventType.SENT, None, True, False),
        (vendor.twilio("delivered"), EventType.DELIVERED, None, True, False),
        (vendor.twilio("canceled"), EventType.FAILED, None, True, False),
        (vendor.twilio("undelivered", ErrorCode="30003"), EventType.BOUNCED, RejectReason.TIMED_OUT, False, False),
        (vendor.twilio("undelivered", ErrorCode="30005"), EventType.BOUNCED, RejectReason.INVALID, True, False),
        (vendor.twilio("undelivered", ErrorCode="30007"), EventType.BOUNCED, RejectReason.SPAM, True, False),
        (vendor.twilio("undelivered", ErrorCode="30008"), EventType.FAILED, RejectReason.OTHER, True, False),
        (vendor.twilio("failed", ErrorCode="30001"), EventType.FAILED, RejectReason.OTHER, True, False),
        (vendor.twilio("undelivered", ErrorCode="30034"), EventType.FAILED, RejectReason.BLOCKED, True, True),
        (vendor.twilio("undelivered", ErrorCode="30999"), EventType.BOUNCED, RejectReason.OTHER, False, False),
        (vendor.twilio("undelivered"), EventType.BOUNCED, RejectReason.OTHER, False, False),
        (vendor.twilio("new word"), EventType.OTHER, None, True, False),
    ],
    ids=lambda value: f"{value['MessageStatus']} {value.get('ErrorCode')}" if isinstance(value, dict) else "",
)
async def test_twilio_events(
    form: dict[str, str], kind: EventType, reason: RejectReason | None, permanent: bool, alert: bool
) -> None:
    [found] = await twilio_with(RELAYPOST_PUBLIC_URL=PUBLIC_URL).read_callback(twilio_callback(form))
    assert (found.type, found.reject_reason, found.permanent, found.alert) == (kind, reason, permanent, alert)
    assert found.event_id == f"{form['MessageSid']} {form['MessageStatus']}"
    assert (found.message_id, found.provider_message_id) == (ID, form["MessageSid"])
    assert found.provider_code == form.get("ErrorCode", form["MessageStatus"])


def test_twilio_is_asked_for_receipts_where_it_can_reach_the_gateway() -> None:
    settings, _ = read(TwilioSettings, TWILIO | {"RELAYPOST_PUBLIC_URL": PUBLIC_URL + "/"})
    without, _ = read(TwilioSettings, TWILIO)
    assert settings is not None
    assert without is not None
    message = messages.sms()
    asked = request_form(message, SmsSender(), settings)["StatusCallback"]
    assert asked == f"{PUBLIC_URL}/callbacks/twilio?message_id={message.id}"
    assert "StatusCallback" not in request_form(message, SmsSender(), without)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda m: replace(m, headers={}), Disbelief.UNSIGNED),
        (lambda m: replace(m, headers={"x-twilio-signature": ""}), Disbelief.UNSIGNED),
        (lambda m: replace(m, headers={"x-twilio-signature": "AAAA"}), Disbelief.FORGED),
        (lambda m: replace(m, headers={"x-twilio-signature": "é"}), Disbelief.FORGED),
        (lambda m: replace(m, body=m.body.replace(b"delivered", b"failed")), Disbelief.FORGED),
        (lambda m: replace(m, body=m.body + b"&ErrorCode=30005"), Disbelief.FORGED),
        (lambda m: replace(m, body=m.body + b"&To=%2B14155550123"), Disbelief.MALFORMED),
        (lambda m: replace(m, path=m.path[:-1] + "2"), Disbelief.FORGED),
        (lambda m: replace(m, body=b"a=b&" * 200), Disbelief.MALFORMED),
        (lambda m: replace(m, body=b"\xff"), Disbelief.MALFORMED),
    ],
)
async def test_a_changed_form_is_refused(change: Callable[[Callback], Callback], why: Disbelief) -> None:
    made = change(twilio_callback(vendor.twilio("delivered")))
    assert await refusal(twilio_with(RELAYPOST_PUBLIC_URL=PUBLIC_URL), made) is why


async def test_forms_for_another_gateway_or_for_none_are_refused() -> None:
    made = twilio_callback(vendor.twilio("delivered"), url="https://other.example.com")
    assert await refusal(twilio_with(RELAYPOST_PUBLIC_URL=PUBLIC_URL), made) is Disbelief.FORGED
    assert await refusal(twilio_with(), made) is Disbelief.NOT_SET_UP


async def test_a_form_without_a_message_of_ours_is_passed_over() -> None:
    made = twilio_callback(vendor.twilio("delivered"), message_id="unknown")
    assert await twilio_with(RELAYPOST_PUBLIC_URL=PUBLIC_URL).read_callback(made) == []


def test_only_some_providers_have_receipts() -> None:
    assert [kind.name for kind in (Ses, SendGrid, Twilio, Smtp) if hasattr(kind, "read_callback")] == [
        "ses",
        "sendgrid",
        "twilio",
    ]
    assert isinstance(twilio_with(), CallbackReader)
