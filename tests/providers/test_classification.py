"""Every documented answer of every HTTP provider, and what it means."""

import json
import time
from typing import Any

import pytest

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.providers import sendgrid_answers, ses_answers, sns_answers, twilio_answers
from relaypost_server.providers._connection import Answer

K = Kind


def aws_json(status: int, code: str, message: str = "") -> Answer:
    return Answer(status, {"x-amzn-errortype": code}, json.dumps({"message": message}).encode())


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "alert"),
    [
        (429, "TooManyRequestsException", "Too many requests", K.THROTTLED, False),
        (400, "Throttling", "Maximum sending rate exceeded.", K.THROTTLED, False),
        (400, "LimitExceededException", "Daily message quota exceeded", K.THROTTLED, False),
        (400, "AccountSuspendedException", "", K.UNAUTHORIZED, True),
        (400, "SendingPausedException", "", K.UNAUTHORIZED, True),
        (403, "AccessDeniedException", "User arn:aws:iam::123456789012:user/x", K.UNAUTHORIZED, True),
        (403, "UnrecognizedClientException", "", K.UNAUTHORIZED, True),
        (403, "SignatureDoesNotMatch", "", K.UNAUTHORIZED, True),
        (403, "InvalidSignatureException", "", K.UNAUTHORIZED, True),
        (403, "ExpiredTokenException", "", K.UNAUTHORIZED, True),
        (400, "OptInRequired", "", K.UNAUTHORIZED, True),
        (400, "MessageRejected", "Email address is not verified. x@y.z", K.UNSUPPORTED, True),
        (400, "MessageRejected", "Email address not verified x@y.z", K.UNSUPPORTED, True),
        (400, "MailFromDomainNotVerifiedException", "", K.UNSUPPORTED, True),
        (404, "NotFoundException", "Configuration set <x> does not exist.", K.UNSUPPORTED, True),
        (400, "MessageRejected", "Sending is paused for this account.", K.UNAUTHORIZED, True),
        (400, "RequestExpired", "", K.UNAUTHORIZED, True),
        (400, "MessageRejected", "Bad content", K.REJECTED, False),
        (400, "MessageRejected", "Transaction failed: Expected MIME type, got ;", K.UNSUPPORTED, False),
        (400, "MessageRejected", "Address blacklisted.", K.UNSUPPORTED, False),
        (400, "BadRequestException", "Missing final '@domain'", K.UNSUPPORTED, False),
        (400, "BadRequestException", "Local address contains control or whitespace", K.UNSUPPORTED, False),
        (400, "BadRequestException", "", K.UNSUPPORTED, False),
        (400, "ValidationException", "", K.UNSUPPORTED, False),
        (413, "", "", K.UNSUPPORTED, False),
        (408, "RequestTimeout", "", K.FAULTED, False),
        (302, "", "", K.UNSUPPORTED, True),
        (200, "", "", K.UNCONFIRMED, False),
        (500, "InternalServiceErrorException", "", K.FAULTED, False),
        (503, "ServiceUnavailableException", "", K.FAULTED, False),
        (503, "", "", K.UNCONFIRMED, False),
        (502, "", "", K.UNCONFIRMED, False),
        (504, "", "", K.UNCONFIRMED, False),
        (418, "SomethingNew", "", K.UNSUPPORTED, True),
    ],
)
def test_ses(status: int, code: str, message: str, kind: Kind, alert: bool) -> None:
    outcome = ses_answers.classify(aws_json(status, code, message))
    assert (outcome.kind, outcome.provider_code, outcome.alert) == (kind, code, alert)


def test_ses_error_types_lose_their_decoration() -> None:
    body = json.dumps({"__type": "com.amazonaws.ses#MessageRejected", "message": "x"}).encode()
    assert ses_answers.classify(Answer(400, {}, body)).provider_code == "MessageRejected"
    header = {"x-amzn-errortype": "MessageRejected:http://internal.amazon.com/coral/"}
    assert ses_answers.classify(Answer(400, header, b"{}")).provider_code == "MessageRejected"


def test_ses_daily_quota_benches_it_for_an_hour() -> None:
    assert ses_answers.classify(aws_json(400, "Throttling", "Daily message quota exceeded.")).retry_after == 3600.0


def aws_xml(status: int, code: str, message: str = "m") -> Answer:
    body = (
        '<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    )
    return Answer(status, {}, body.encode())


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "Throttled", K.THROTTLED),
        (400, "ThrottlingException", K.THROTTLED),
        (400, "KMSThrottling", K.THROTTLED),
        (429, "Anything", K.THROTTLED),
        (400, "InvalidParameter", K.UNSUPPORTED),
        (400, "InvalidParameterValue", K.UNSUPPORTED),
        (400, "ValidationException", K.UNSUPPORTED),
        (403, "AuthorizationError", K.UNAUTHORIZED),
        (403, "InvalidSecurity", K.UNAUTHORIZED),
        (403, "InvalidClientTokenId", K.UNAUTHORIZED),
        (403, "SignatureDoesNotMatch", K.UNAUTHORIZED),
        (400, "KMSDisabled", K.UNAUTHORIZED),
        (400, "KMSAccessDenied", K.UNAUTHORIZED),
        (500, "InternalError", K.UNCONFIRMED),
        (503, "ServiceUnavailable", K.FAULTED),
        (502, "", K.UNCONFIRMED),
        (400, "SomethingNew", K.UNSUPPORTED),
    ],
)
def test_sns(status: int, code: str, kind: Kind) -> None:
    outcome = sns_answers.classify(aws_xml(status, code))
    assert (outcome.kind, outcome.provider_code) == (kind, code)
    assert outcome.alert == (kind in (K.UNAUTHORIZED, K.UNSUPPORTED))


@pytest.mark.parametrize(
    ("message", "alert"),
    [
        ("Invalid parameter: PhoneNumber Reason: +66112345678 is not valid to publish to", False),
        ("Invalid parameter: Message too long", False),
        ("Invalid parameter: Message Reason: Empty message", False),
        ("Invalid parameter: MessageAttributes Reason: AWS.SNS.SMS.SenderID is invalid", True),
        ("Invalid parameter: AWS.MM.SMS.OriginationNumber is not owned", True),
        ("Invalid parameter: something new", True),
    ],
)
def test_sns_invalid_parameters_never_end_the_chain_and_blame_no_recipient(message: str, alert: bool) -> None:
    """In a region without text messages SNS says of every number that it is not valid."""
    outcome = sns_answers.classify(aws_xml(400, "InvalidParameter", message))
    assert outcome.kind is K.UNSUPPORTED
    assert (outcome.blames_recipient, outcome.alert) == (False, alert)


def test_sns_answers_that_explode_are_not_understood() -> None:
    """A billion laughs is no MessageId."""
    bomb = b'<!DOCTYPE l [<!ENTITY a "ha">' + b"".join(
        b'<!ENTITY %c "%s">' % (i + 1, b"&%c;" % i * 10) for i in range(97, 107)
    )
    assert sns_answers.classify(Answer(200, {}, bomb + b"]><l><MessageId>&k;</MessageId></l>")).kind is K.UNCONFIRMED


def errors(status: int, message: str = "m", field: str | None = None, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, json.dumps({"errors": [{"message": message, "field": field}]}).encode())


@pytest.mark.parametrize(
    ("status", "message", "kind", "alert"),
    [
        (202, "", K.ACCEPTED, False),
        (200, "", K.UNCONFIRMED, False),
        (204, "", K.UNCONFIRMED, False),
        (302, "", K.UNSUPPORTED, True),
        (307, "", K.UNSUPPORTED, True),
        (400, "Does not contain a valid address.", K.UNSUPPORTED, False),
        (400, "Something new", K.UNSUPPORTED, True),
        (401, "You have exceeded your messaging limits", K.THROTTLED, False),
        (408, "", K.FAULTED, False),
        (409, "", K.UNSUPPORTED, True),
        (425, "", K.FAULTED, False),
        (401, "The provided authorization grant is invalid", K.UNAUTHORIZED, True),
        (401, "Maximum credits exceeded", K.THROTTLED, False),
        (403, "access forbidden", K.UNAUTHORIZED, True),
        (403, "The from address does not match a verified Sender Identity.", K.UNSUPPORTED, True),
        (404, "", K.UNAUTHORIZED, True),
        (405, "", K.UNAUTHORIZED, True),
        (406, "", K.UNAUTHORIZED, True),
        (415, "", K.UNAUTHORIZED, True),
        (413, "payload too large", K.UNSUPPORTED, False),
        (429, "too many requests", K.THROTTLED, False),
        (451, "region", K.UNSUPPORTED, True),
        (503, "", K.FAULTED, False),
        (500, "", K.UNCONFIRMED, False),
        (502, "", K.UNCONFIRMED, False),
        (504, "", K.UNCONFIRMED, False),
    ],
)
def test_sendgrid(status: int, message: str, kind: Kind, alert: bool) -> None:
    outcome = sendgrid_answers.classify(errors(status, message))
    code = "" if kind is K.ACCEPTED else str(status)
    assert (outcome.kind, outcome.provider_code, outcome.alert) == (kind, code, alert)


@pytest.mark.parametrize(
    ("field", "message", "blames_recipient", "alert"),
    [
        ("personalizations.0.to.0.email", "Does not contain a valid address.", True, False),
        ("personalizations.0.bcc.3.email", "Does not contain a valid address.", True, False),
        ("personalizations.0", "Each email address in the personalization block should be unique", False, False),
        ("from.email", "The from email does not contain a valid address.", False, True),
        ("from", "The from address does not match a verified Sender Identity.", False, True),
        ("reply_to.email", "The reply_to email does not contain a valid address.", False, False),
        ("content.0.value", "The content value must be a string at least one character in length.", False, False),
        ("headers", "The following headers are not allowed.", False, False),
        ("asm.group_id", "The group_id must be an integer.", False, True),
        ("fromage", "Something new", False, True),
    ],
)
def test_sendgrid_fields_say_who_is_at_fault_and_never_end_the_chain(
    field: str, message: str, blames_recipient: bool, alert: bool
) -> None:
    outcome = sendgrid_answers.classify(errors(400, message, field))
    assert outcome.kind is K.UNSUPPORTED
    assert (outcome.blames_recipient, outcome.alert) == (blames_recipient, alert)


def test_sendgrid_of_several_errors_the_one_about_our_set_up_counts() -> None:
    of_both = [
        {"field": "personalizations.0.to.0.email", "message": "Does not contain a valid address."},
        {"field": "from.email", "message": "Does not contain a valid address."},
    ]
    outcome = sendgrid_answers.classify(Answer(400, {}, json.dumps({"errors": of_both}).encode()))
    assert (outcome.alert, outcome.blames_recipient) == (True, False)


def test_sendgrid_takes_a_message_in_its_sandbox_with_200() -> None:
    assert sendgrid_answers.classify(Answer(200, {}, b""), sandbox=True).kind is K.ACCEPTED
    assert sendgrid_answers.classify(Answer(204, {}, b""), sandbox=True).kind is K.UNCONFIRMED


def test_sendgrid_throttles_until_the_reset_it_names() -> None:
    reset = sendgrid_answers.classify(errors(429, x_ratelimit_reset=str(int(time.time()) + 30))).retry_after
    assert reset is not None
    assert 28 < reset <= 31


@pytest.mark.parametrize("hostile", ["0", "-1", "1e18", "soon", "nan", "inf"])
def test_sendgrid_resets_that_make_no_sense_are_bounded(hostile: str) -> None:
    wait = sendgrid_answers.classify(errors(429, x_ratelimit_reset=hostile)).retry_after
    assert wait is None or 0 <= wait <= 300


def test_sendgrid_without_credits_is_benched_for_an_hour() -> None:
    assert sendgrid_answers.classify(errors(401, "Maximum credits exceeded")).retry_after == 3600.0


def refused(status: int, code: int | None) -> Outcome:
    body: dict[str, Any] = {"code": code, "message": "m", "status": status}
    return twilio_answers.classify(Answer(status, {}, json.dumps(body if code else {}).encode()))


_TWILIO = {
    K.REJECTED: "21211 21214 21217 21265 21602 21610 21614 21617 21619",
    K.UNSUPPORTED: "21266 21408 21612 21618 21635 21212 21219 21601 21603 21604 21605 21606 21607 21608 21609 21616 "
    "21620 21621 21622 21623 21654 21655 21656 21657 21658 21659 21660 21661 21701 21702 21703 21704 21705 "
    "21999 30999 63999",
    K.THROTTLED: "14107 20429 21611 63017 63038",
    K.UNAUTHORIZED: "10001 20003 20005 20006 20008 20010 20403",
}
NOT_OUR_FAULT = (21266, 21612, 21618, 21635)
BLAME_THE_RECIPIENT = (21211, 21214, 21217, 21265, 21614, 21635)


@pytest.mark.parametrize(("kind", "code"), [(k, int(c)) for k, codes in _TWILIO.items() for c in codes.split()])
def test_twilio_codes(kind: Kind, code: int) -> None:
    outcome = refused(400, code)
    assert (outcome.kind, outcome.provider_code) == (kind, str(code))
    wrong_set_up = kind is K.UNAUTHORIZED or (kind is K.UNSUPPORTED and code not in NOT_OUR_FAULT)
    assert outcome.alert == wrong_set_up
    assert outcome.blames_recipient == (code in BLAME_THE_RECIPIENT)
    assert outcome.opted_out == (code == 21610)


def test_twilio_leaves_an_account_alone_that_used_up_its_day() -> None:
    assert refused(400, 63038).retry_after == 3600.0


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, None, K.UNAUTHORIZED),
        (401, 20003, K.UNAUTHORIZED),
        (429, 20429, K.THROTTLED),
        (429, None, K.THROTTLED),
        (503, 20503, K.FAULTED),
        (503, None, K.FAULTED),
        (500, 20500, K.UNCONFIRMED),
        (502, None, K.UNCONFIRMED),
        (504, None, K.UNCONFIRMED),
        (404, 20404, K.UNSUPPORTED),
        (403, 20403, K.UNAUTHORIZED),
        (403, 21408, K.UNSUPPORTED),
        (403, 21610, K.REJECTED),
        (403, None, K.UNSUPPORTED),
        (500, 21211, K.UNCONFIRMED),
        (302, 21211, K.UNSUPPORTED),
        (408, None, K.FAULTED),
        (413, None, K.UNSUPPORTED),
    ],
)
def test_twilio_statuses(status: int, code: int | None, kind: Kind) -> None:
    assert refused(status, code).kind is kind
