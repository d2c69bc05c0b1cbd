"""Every documented answer of every HTTP provider, and what it means."""

import json
import time
from typing import Any

import pytest

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.providers import sendgrid, ses, sns, twilio_answers
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
        (400, "MessageRejected", "Bad content", K.REJECTED, False),
        (400, "BadRequestException", "", K.REJECTED, False),
        (400, "ValidationException", "", K.REJECTED, False),
        (413, "", "", K.REJECTED, False),
        (500, "InternalServiceErrorException", "", K.FAULTED, False),
        (503, "ServiceUnavailableException", "", K.FAULTED, False),
        (503, "", "", K.UNCONFIRMED, False),
        (502, "", "", K.UNCONFIRMED, False),
        (504, "", "", K.UNCONFIRMED, False),
        (418, "SomethingNew", "", K.UNSUPPORTED, True),
    ],
)
def test_ses(status: int, code: str, message: str, kind: Kind, alert: bool) -> None:
    outcome = ses.classify(aws_json(status, code, message))
    assert (outcome.kind, outcome.provider_code, outcome.alert) == (kind, code, alert)


def test_ses_error_types_lose_their_decoration() -> None:
    body = json.dumps({"__type": "com.amazonaws.ses#MessageRejected", "message": "x"}).encode()
    assert ses.classify(Answer(400, {}, body)).provider_code == "MessageRejected"
    header = {"x-amzn-errortype": "MessageRejected:http://internal.amazon.com/coral/"}
    assert ses.classify(Answer(400, header, b"{}")).provider_code == "MessageRejected"


def test_ses_daily_quota_benches_it_for_an_hour() -> None:
    assert ses.classify(aws_json(400, "Throttling", "Daily message quota exceeded.")).retry_after == 3600.0


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
        (400, "InvalidParameter", K.REJECTED),
        (400, "InvalidParameterValue", K.REJECTED),
        (400, "ValidationException", K.REJECTED),
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
    outcome = sns.classify(aws_xml(status, code))
    assert (outcome.kind, outcome.provider_code) == (kind, code)
    assert outcome.alert == (kind in (K.UNAUTHORIZED, K.UNSUPPORTED))


def test_sns_answers_that_explode_are_not_understood() -> None:
    """A billion laughs is no MessageId."""
    bomb = b'<!DOCTYPE l [<!ENTITY a "ha">' + b"".join(
        b'<!ENTITY %c "%s">' % (i + 1, b"&%c;" % i * 10) for i in range(97, 107)
    )
    assert sns.classify(Answer(200, {}, bomb + b"]><l><MessageId>&k;</MessageId></l>")).kind is K.UNCONFIRMED


def errors(status: int, message: str = "m", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, json.dumps({"errors": [{"message": message, "field": None}]}).encode())


@pytest.mark.parametrize(
    ("status", "message", "kind", "alert"),
    [
        (400, "Does not contain a valid address.", K.REJECTED, False),
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
    outcome = sendgrid.classify(errors(status, message))
    assert (outcome.kind, outcome.provider_code, outcome.alert) == (kind, str(status), alert)


def test_sendgrid_throttles_until_the_reset_it_names() -> None:
    reset = sendgrid.classify(errors(429, x_ratelimit_reset=str(int(time.time()) + 30))).retry_after
    assert reset is not None
    assert 28 < reset <= 31


@pytest.mark.parametrize("hostile", ["0", "-1", "1e18", "soon", "nan", "inf"])
def test_sendgrid_resets_that_make_no_sense_are_bounded(hostile: str) -> None:
    wait = sendgrid.classify(errors(429, x_ratelimit_reset=hostile)).retry_after
    assert wait is None or 0 <= wait <= 300


def test_sendgrid_without_credits_is_benched_for_an_hour() -> None:
    assert sendgrid.classify(errors(401, "Maximum credits exceeded")).retry_after == 3600.0


def refused(status: int, code: int | None) -> Outcome:
    body: dict[str, Any] = {"code": code, "message": "m", "status": status}
    return twilio_answers.classify(Answer(status, {}, json.dumps(body if code else {}).encode()))


_TWILIO = {
    K.REJECTED: "21211 21214 21217 21602 21604 21605 21610 21614 21617 21618 21619 21620 21621 21622 21623 21635 "
    "21654 21655 21656 21658 21999",
    K.UNSUPPORTED: "21408 21612 21212 21219 21601 21603 21606 21608 21657 21701 21702 21703 21704 21705 30999",
    K.THROTTLED: "14107 20429 21611 63017",
    K.UNAUTHORIZED: "10001 20003 20005 20006 20010 20403",
}


@pytest.mark.parametrize(("kind", "code"), [(k, int(c)) for k, codes in _TWILIO.items() for c in codes.split()])
def test_twilio_codes(kind: Kind, code: int) -> None:
    outcome = refused(400, code)
    assert (outcome.kind, outcome.provider_code) == (kind, str(code))
    wrong_set_up = kind is K.UNAUTHORIZED or (kind is K.UNSUPPORTED and code not in (21408, 21612))
    assert outcome.alert == wrong_set_up


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
    ],
)
def test_twilio_statuses(status: int, code: int | None, kind: Kind) -> None:
    assert refused(status, code).kind is kind
