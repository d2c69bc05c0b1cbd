"""What each provider refuses by the headers of a callback alone, before its body is read."""

from collections.abc import Mapping

from relaypost_server.core.ports import CallbackReader, CallbackRefusedError, Disbelief
from tests.providers import vendor_events as vendor
from tests.providers.test_receipts import sendgrid_with, ses_with, twilio_with
from tests.signing import (
    PUBLIC_URL,
    TOPIC,
    TOPIC_HEADER,
    SendGridKey,
    SnsTopic,
    callback,
    twilio_callback,
)


def head_refusal(reader: CallbackReader, headers: Mapping[str, str]) -> Disbelief | None:
    """Why the headers alone are not believed."""
    try:
        reader.check_head(callback(b"", headers))
    except CallbackRefusedError as error:
        return error.why
    return None


def test_the_topic_is_named_in_the_headers(aws_keys: None) -> None:
    topic = SnsTopic()
    ses = ses_with(topic, RELAYPOST_SES_TOPIC_ARN=TOPIC)
    assert head_refusal(ses, TOPIC_HEADER) is None
    assert head_refusal(ses, {}) is Disbelief.UNSIGNED
    assert head_refusal(ses, {"x-amz-sns-topic-arn": f"{TOPIC}-other"}) is Disbelief.FOREIGN
    assert head_refusal(ses_with(topic), TOPIC_HEADER) is Disbelief.NOT_SET_UP


def test_sendgrids_headers_alone_must_hold_a_fresh_signature() -> None:
    webhook = SendGridKey()
    reader = sendgrid_with(RELAYPOST_SENDGRID_WEBHOOK_KEY=webhook.public)
    good = webhook.headers(b"[]")
    assert head_refusal(reader, good) is None
    assert head_refusal(reader, {}) is Disbelief.UNSIGNED
    assert head_refusal(reader, dict.fromkeys(good, "AAAA")) is Disbelief.FORGED
    assert head_refusal(reader, dict.fromkeys(good, "é")) is Disbelief.FORGED
    assert head_refusal(reader, webhook.headers(b"[]", at=0.0)) is Disbelief.STALE
    assert head_refusal(sendgrid_with(), good) is Disbelief.NOT_SET_UP


def test_twilios_headers_alone_must_hold_a_signature() -> None:
    reader = twilio_with(RELAYPOST_PUBLIC_URL=PUBLIC_URL)
    good = twilio_callback(vendor.twilio("delivered")).headers
    assert head_refusal(reader, good) is None
    assert head_refusal(reader, {}) is Disbelief.UNSIGNED
    for forged in ("AAAA", "é", "no base64!"):
        assert head_refusal(reader, {"x-twilio-signature": forged}) is Disbelief.FORGED
    assert head_refusal(twilio_with(), good) is Disbelief.NOT_SET_UP
    assert reader.is_reply(callback(b"", path="/callbacks/twilio"))
    assert not reader.is_reply(twilio_callback(vendor.twilio("delivered")))
