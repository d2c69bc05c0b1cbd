"""Which receipts and answers mean that an address is to get no more messages."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, strategies as st
from twilio.request_validator import RequestValidator

from relaypost_server.core.delivery import DeliveryEvent, RejectReason
from relaypost_server.core.ports import CallbackRefusedError, Disbelief
from relaypost_server.core.suppression import SuppressionReason
from relaypost_server.core.suppression_ports import OptOutReader, OptOutsUnreadableError, ReplyReader
from relaypost_server.providers._connection import Answer
from relaypost_server.providers._sendgrid_settings import SendGridSettings
from relaypost_server.providers.sendgrid import SendGrid
from relaypost_server.providers.ses_receipts import events_of
from relaypost_server.providers.twilio_answers import classify
from relaypost_server.providers.twilio_receipts import read_form
from relaypost_server.settings import read
from tests.fakes.http import Reply, Request, answer, closed_port, fake_http
from tests.providers import vendor_events as vendor
from tests.providers.configured import OVER_HTTP, SECRETS, TWILIO, build
from tests.signing import PUBLIC_URL, SendGridKey, callback, twilio_callback

BOUNCED, COMPLAINED = SuppressionReason.BOUNCED, SuppressionReason.COMPLAINED
UNSUBSCRIBED = SuppressionReason.UNSUBSCRIBED
ADA = ("ada@example.com",)


def bounced(*addresses: object, kind: str = "Permanent", subtype: str = "General") -> dict[str, Any]:
    named = [{"emailAddress": a} for a in addresses]
    return vendor.ses("Bounce", bounceType=kind, bounceSubType=subtype, bouncedRecipients=named)


@pytest.mark.parametrize(
    ("event", "reason", "recipients"),
    [
        (vendor.SES_BOUNCE, BOUNCED, ADA),
        (bounced("Ada <Ada@Example.com>", "b@example.com"), BOUNCED, (*ADA, "b@example.com")),
        (bounced("ada@example.com", subtype="OnAccountSuppressionList"), BOUNCED, ADA),
        (bounced("ada@example.com", 7, None, "", "a\0@example.com"), BOUNCED, ADA),
        (bounced("ada@example.com", kind="Transient"), None, ADA),
        (bounced("ada@example.com", kind="Undetermined"), None, ADA),
        (vendor.ses("Bounce", bounceType="Permanent", bouncedRecipients="ada@example.com"), BOUNCED, ADA),
        (vendor.ses("Complaint", complainedRecipients=[{"emailAddress": "ada@example.com"}]), COMPLAINED, ADA),
        (vendor.ses("Complaint", complaintFeedbackType="not-spam"), None, ADA),
        (vendor.ses("Subscription", newTopicPreferences={"unsubscribeAll": True}), UNSUBSCRIBED, ADA),
        (vendor.ses("Subscription", newTopicPreferences={"unsubscribeAll": False}), None, ADA),
        (vendor.SES_DELIVERY, None, ADA),
        (vendor.ses("Reject", reason="Bad content"), None, ADA),
    ],
    ids=range(13),
)
def test_ses(event: dict[str, Any], reason: SuppressionReason | None, recipients: tuple[str, ...]) -> None:
    [found] = events_of({"Message": json.dumps(event), "MessageId": "1", "Timestamp": "2026-07-01T12:00:00.000Z"})
    assert (found.suppression, found.recipients) == (reason, recipients)


def told(*recipients: Mapping[str, Any], kind: str) -> list[DeliveryEvent]:
    """The events of a bounce that names these recipients."""
    event = vendor.ses("Bounce", bounceType=kind, bounceSubType="General", bouncedRecipients=list(recipients))
    return list(events_of({"Message": json.dumps(event), "MessageId": "1", "Timestamp": "2026-07-01T12:00:00.000Z"}))


@pytest.mark.parametrize(
    ("kind", "status", "diagnostic", "permanent"),
    [
        ("Transient", "5.1.1", "", True),
        ("Transient", "5.3.0", "smtp; 550 5.1.1 <ada@example.com>: user unknown", True),
        ("Transient", "5.0.0", "smtp; 550 5.1.1 no mailbox", True),
        ("Transient", "", "smtp; 550 5.1.10 RESOLVER.ADR.RecipientNotFound", True),
        ("Transient", "5.0.0", "smtp; 550 No such user here", True),
        ("Transient", "5.2.1", "smtp; 550 5.2.1 The email account that you tried to reach is disabled", True),
        ("Undetermined", "5.1.2", "smtp; 550 5.1.2 unknown host", True),
        ("Transient", "5.0.0", "smtp; 550 5.1.1.", True),
        ("Transient", "5.7.1", "smtp; 550 5.7.1 blocked: user unknown to the policy", False),
        ("Transient", "5.7.1", "smtp; 554 5.7.1 rejected as spam", False),
        ("Transient", "5.1.8", "smtp; 550 5.1.8 sender rejected", False),
        ("Transient", "5.2.2", "smtp; 552 5.2.2 mailbox full", False),
        ("Transient", "4.4.7", "smtp; 550 4.4.7 message expired", False),
        ("Transient", "", "", False),
        ("Permanent", "5.7.1", "smtp; 554 5.7.1 rejected", True),
        ("Permanent", "4.2.2", "smtp; 452 4.2.2 over quota", False),
        ("Permanent", "", "smtp; relayed by 5.1.1.9", True),
        ("Transient", "", "smtp; 550 relayed by 5.1.1.9", False),
    ],
)
def test_what_a_server_said_outweighs_the_bounce_type_of_ses(
    kind: str, status: str, diagnostic: str, permanent: bool
) -> None:
    [found] = told({"emailAddress": "ada@example.com", "status": status, "diagnosticCode": diagnostic}, kind=kind)
    assert found.permanent is permanent
    assert found.suppression is (BOUNCED if permanent else None)
    assert found.provider_code == f"{kind}/General"
    if permanent and kind != "Permanent":
        assert found.reject_reason is RejectReason.INVALID


def test_of_several_bounced_recipients_only_those_who_are_gone_are_suppressed() -> None:
    gone, full = told(
        {"emailAddress": "full@example.com", "status": "4.2.2", "diagnosticCode": "smtp; 452 4.2.2 over quota"},
        {"emailAddress": "ada@example.com", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 unknown"},
        kind="Transient",
    )
    assert (gone.recipients, gone.permanent, gone.suppression) == (ADA, True, BOUNCED)
    assert (full.recipients, full.permanent, full.suppression) == (("full@example.com",), False, None)
    assert (gone.event_id, full.event_id) == ("1", "1/temporary")
    assert "unknown" in gone.detail
    assert "over quota" in full.detail


@given(
    st.sampled_from(["Permanent", "Transient", "Undetermined", 7, None]),
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "emailAddress": st.sampled_from(["ada@example.com", "b@example.com", "", 7, None]),
                "status": st.sampled_from(["5.1.1", "4.2.2", "5.3.0", "", 7, None]) | st.text(max_size=9),
                "diagnosticCode": st.sampled_from(["smtp; 550 5.1.1 x", "452 4.2.2", {}, None]) | st.text(max_size=20),
            },
        )
        | st.text(max_size=5),
        max_size=4,
    )
    | st.text(max_size=5)
    | st.none(),
)
def test_any_bounce_names_each_recipient_in_one_event(kind: Any, listed: Any) -> None:
    event = vendor.ses("Bounce", bounceType=kind, bounceSubType="General", bouncedRecipients=listed)
    found = events_of({"Message": json.dumps(event), "MessageId": "1", "Timestamp": "2026-07-01T12:00:00.000Z"})
    assert 1 <= len(found) <= 2
    assert len({e.event_id for e in found}) == len(found)
    for each in found:
        assert each.suppression is (BOUNCED if each.permanent else None)


@pytest.mark.parametrize(
    ("name", "more", "reason"),
    [
        ("bounce", {"type": "bounce"}, BOUNCED),
        ("bounce", {}, BOUNCED),
        ("bounce", {"type": "blocked"}, None),
        ("bounce", {"type": "expired"}, None),
        ("dropped", {"reason": "Bounced Address"}, BOUNCED),
        ("dropped", {"reason": "Invalid"}, BOUNCED),
        ("dropped", {"reason": "Unsubscribed Address"}, UNSUBSCRIBED),
        ("dropped", {"reason": "Spam Reporting Address"}, COMPLAINED),
        ("dropped", {"reason": "Spam Content"}, None),
        ("dropped", {"reason": "Recipient List over Package Quota"}, None),
        ("spamreport", {}, COMPLAINED),
        ("unsubscribe", {}, UNSUBSCRIBED),
        ("group_unsubscribe", {"asm_group_id": 7}, None),
        ("delivered", {}, None),
    ],
)
async def test_sendgrid(name: str, more: dict[str, Any], reason: SuppressionReason | None) -> None:
    key = SendGridKey()
    environ = {"SENDGRID_API_KEY": SECRETS["SENDGRID_API_KEY"], "RELAYPOST_SENDGRID_WEBHOOK_KEY": key.public}
    settings, _ = read(SendGridSettings, environ)
    assert settings is not None
    body = json.dumps([vendor.sendgrid(name, **more)]).encode()
    [found] = await SendGrid(settings).read_callback(callback(body, key.headers(body)))
    assert (found.suppression, found.recipients) == (reason, ADA)


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        ("undelivered", "30004", BOUNCED),
        ("undelivered", "30005", BOUNCED),
        ("undelivered", "30006", BOUNCED),
        ("failed", "21610", UNSUBSCRIBED),
        ("undelivered", "30003", None),
        ("undelivered", "30007", None),
        ("undelivered", "30019", None),
        ("undelivered", "30034", None),
        ("delivered", "30005", None),
        ("delivered", "", None),
    ],
)
def test_twilio(status: str, code: str, reason: SuppressionReason | None) -> None:
    form = vendor.twilio(status, **({"ErrorCode": code} if code else {}))
    [found] = read_form(twilio_callback(form), PUBLIC_URL, SECRETS["TWILIO_AUTH_TOKEN"])
    assert (found.suppression, found.recipients) == (reason, ("+14155550123",))


@pytest.mark.parametrize(("code", "opted_out"), [(21610, True), (21211, False)])
def test_twilios_refusal_of_a_number_that_opted_out(code: int, opted_out: bool) -> None:
    body = json.dumps({"code": code, "message": "no", "status": 400}).encode()
    assert classify(Answer(400, {}, body)).opted_out is opted_out


def page(*numbers: str, token: str = "") -> Reply:
    """As SNS answers ListPhoneNumbersOptedOut."""
    members = "".join(f"<member>{n}</member>" for n in numbers)
    following = f"<nextToken>{token}</nextToken>" if token else ""
    return answer(
        200,
        b'<ListPhoneNumbersOptedOutResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">'
        + f"<ListPhoneNumbersOptedOutResult><phoneNumbers>{members}</phoneNumbers>{following}".encode()
        + b"</ListPhoneNumbersOptedOutResult></ListPhoneNumbersOptedOutResponse>",
        Content_Type="text/xml",
    )


async def test_the_opt_outs_of_sns_are_read_page_by_page(aws_keys: None) -> None:
    def reply(request: Request) -> Reply:
        second = b"nextToken=more" in request.body
        return page("+14155550102") if second else page("+14155550100", "+14155550101", token="more")

    async with fake_http() as fake:
        fake.reply = reply
        sns = build("sns", OVER_HTTP["sns"](fake.url))
        assert (isinstance(sns, OptOutReader), sns.opt_outs_every) == (True, 3600)
        assert await sns.opted_out() == {"+14155550100", "+14155550101", "+14155550102"}
        assert len(fake.received) == 2
        await sns.close()


async def test_half_a_list_is_no_list(aws_keys: None) -> None:
    error = b"<Error><Code>AuthorizationError</Code><Message>no +14155550100</Message></Error>"
    denied = b"<ErrorResponse>" + error + b"</ErrorResponse>"
    async with fake_http() as fake:
        fake.reply = lambda r: answer(403, denied) if b"nextToken" in r.body else page("+14155550100", token="more")
        sns = build("sns", OVER_HTTP["sns"](fake.url))
        with pytest.raises(OptOutsUnreadableError) as caught:
            await sns.opted_out()
        await sns.close()
    assert str(caught.value) == "AWS answered AuthorizationError. Allow sns:ListPhoneNumbersOptedOut."


async def test_a_list_out_of_reach_is_no_list(aws_keys: None) -> None:
    sns = build("sns", OVER_HTTP["sns"](f"http://127.0.0.1:{closed_port()}"))
    with pytest.raises(OptOutsUnreadableError, match="EndpointConnectionError"):
        await sns.opted_out()
    await sns.close()


def incoming(*, path: str = "/callbacks/twilio", **form: str) -> Any:
    """As Twilio passes on what a person writes."""
    fields = {"SmsStatus": "received", "From": "+14155550123", "To": "+14155550100", "MessageSid": "SM1"} | form
    signature = RequestValidator(SECRETS["TWILIO_AUTH_TOKEN"]).compute_signature(PUBLIC_URL + path, fields)
    return callback(urlencode(fields).encode(), {"x-twilio-signature": signature}, path=path)


@pytest.mark.parametrize(
    ("form", "wants"),
    [
        ({"Body": "STOP"}, False),
        ({"Body": " stop\n"}, False),
        ({"Body": "OptOut"}, False),
        ({"Body": "START"}, True),
        ({"Body": "unstop"}, True),
        ({"Body": "please stop"}, None),
        ({"Body": ""}, None),
        ({}, None),
        ({"Body": "ARRET", "OptOutType": "STOP"}, False),
        ({"Body": "stop", "OptOutType": "HELP"}, None),
    ],
)
async def test_what_people_write_to_twilio(form: dict[str, str], wants: bool | None) -> None:
    twilio = build("twilio", TWILIO | {"RELAYPOST_PUBLIC_URL": PUBLIC_URL})
    assert isinstance(twilio, ReplyReader)
    found = await twilio.read_reply(incoming(**form))
    assert found is not None
    assert (found.provider, found.id, found.address) == ("twilio", "SM1", "+14155550123")
    assert found.wants_messages is wants


async def test_a_receipt_is_no_reply_and_a_forged_reply_is_refused() -> None:
    twilio = build("twilio", TWILIO | {"RELAYPOST_PUBLIC_URL": PUBLIC_URL})
    assert await twilio.read_reply(twilio_callback(vendor.twilio("delivered"))) is None
    assert await twilio.read_reply(incoming(SmsStatus="delivered")) is None
    forged = replace(incoming(Body="START"), body=b"SmsStatus=received&From=%2B14155550199&Body=START")
    malformed = [(incoming(**form), Disbelief.MALFORMED) for form in ({"From": ""}, {"MessageSid": ""})]
    for made, why in ((forged, Disbelief.FORGED), *malformed):
        with pytest.raises(CallbackRefusedError) as caught:
            await twilio.read_reply(made)
        assert caught.value.why is why
    without_url = build("twilio", TWILIO)
    with pytest.raises(CallbackRefusedError) as caught:
        await without_url.read_reply(incoming(Body="STOP"))
    assert caught.value.why is Disbelief.NOT_SET_UP
