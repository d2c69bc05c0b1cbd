"""What answers of SES mean.

Sources: botocore's `sesv2` model, SendEmail; "Amazon SES email sending errors" (docs.aws.amazon.com/ses,
troubleshoot-error-messages); the words about addresses are those of public reports (boto3#4587, anymail#281,
openstax/accounts#253, aws-ses-v2-local#44).

BadRequest and MessageRejected say that SES does not take the message. Another provider may: SES refuses quoted local
parts, long display names and some headers that others carry.
"""

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.providers import _aws_answers as aws, _http_answers as http
from relaypost_server.providers._answer_table import REFUSALS, AnswerTable, Complaint, Row, Said
from relaypost_server.providers._connection import Answer
from relaypost_server.providers._meanings import Meaning

QUOTA_LATCH = 3600.0
"""Seconds. The daily quota is a rolling 24 hours: some of it is back within the hour."""
_INVALID = ("BadRequest", "Validation", "ValidationError", "InvalidParameterValue", "InvalidParameterCombination")

TABLE = AnswerTable(
    http.ACCEPTED,
    http.NO_ID,
    Row(
        statuses=REFUSALS,
        words=("daily message quota exceeded",),
        meaning=Meaning(kind=Kind.THROTTLED, why="the daily quota is used up", latch=QUOTA_LATCH),
    ),
    aws.THROTTLED,
    http.TOO_MANY,
    # With an AWS error code SES itself says that it failed; anything else may come from a proxy behind which SES took
    # the message.
    Row(statuses=(500, 503), coded=True, meaning=Meaning(kind=Kind.FAULTED, why="SES says that it failed")),
    http.LOST,
    Row(
        codes=("AccountSuspended", "SendingPaused"),
        meaning=Meaning(kind=Kind.UNAUTHORIZED, why="AWS has stopped the account from sending", alert=True),
    ),
    Row(
        codes=("MessageRejected",),
        words=("paused", "suspended"),
        meaning=Meaning(kind=Kind.UNAUTHORIZED, why="AWS has stopped the account from sending", alert=True),
    ),
    aws.EXPIRED,
    aws.UNAUTHORIZED,
    aws.WRONG_CLOCK,
    Row(
        codes=("MessageRejected", *_INVALID),
        words=("not verified",),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="an identity is not verified", alert=True),
    ),
    Row(
        codes=("MailFromDomainNotVerified",),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="the MAIL FROM domain is not verified", alert=True),
    ),
    Row(
        codes=("NotFound", "ConfigurationSetDoesNotExist"),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="there is no such configuration set", alert=True),
    ),
    Row(
        statuses=REFUSALS,
        codes=("MessageRejected",),
        words=("bad content", "virus", "malware"),
        meaning=Meaning(kind=Kind.REJECTED, why="the message holds harmful content"),
    ),
    Row(
        codes=("MessageRejected",),
        words=("blacklisted",),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="SES sends nothing to this recipient", blames_recipient=True),
    ),
    Row(
        codes=("MessageRejected",),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="SES does not take this message"),
    ),
    Row(
        codes=_INVALID,
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="SES does not take this message or one of its addresses"),
    ),
    http.TOO_LARGE,
    http.REFUSED_CREDENTIALS,
    http.NOT_RECEIVED,
    http.REDIRECTED,
    http.UNKNOWN,
)


def classify(answer: Answer) -> Outcome:
    """What an HTTP answer of SES means."""
    body = answer.json()
    if answer.ok:
        message_id = body.get("MessageId")
        message_id = message_id if isinstance(message_id, str) else ""
        return TABLE.outcome(answer, Said(status=answer.status, has_id=bool(message_id)), message_id=message_id)
    given = answer.headers.get("x-amzn-errortype") or body.get("__type") or body.get("code") or ""
    code = aws.without_namespace(str(given))
    text = str(body.get("message") or body.get("Message") or "")
    said = Said(status=answer.status, code=aws.plain(code), complaints=(Complaint(text),))
    return TABLE.outcome(answer, said, code=code)
