"""What answers of SNS mean.

Sources: botocore's `sns` model, Publish; aws-sdk-js#1368 and boto3#2195 (numbers that SNS calls invalid and that
others reach); aws-sdk-js#1217 (so it does in regions without text messages).

SNS asks no carrier about a number before it accepts a message, and in a region without text messages it calls every
number invalid: what it says of a number blames no recipient.
"""

from xml.etree import ElementTree

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.providers import _aws_answers as aws, _http_answers as http
from relaypost_server.providers._answer_table import AnswerTable, Complaint, Row, Said
from relaypost_server.providers._connection import Answer
from relaypost_server.providers._meanings import Meaning

_INVALID = (
    "InvalidParameter",
    "InvalidParameterValue",
    "ParameterValueInvalid",
    "Validation",
    "ValidationError",
)

TABLE = AnswerTable(
    http.ACCEPTED,
    http.NO_ID,
    aws.THROTTLED,
    Row(codes=("KMSThrottling",), meaning=Meaning(kind=Kind.THROTTLED, why="too many requests to KMS")),
    http.TOO_MANY,
    # A 500 of SNS does not say that nothing was sent.
    Row(statuses=(503,), coded=True, meaning=Meaning(kind=Kind.FAULTED, why="SNS says that it is out of service")),
    http.LOST,
    aws.EXPIRED,
    aws.UNAUTHORIZED,
    aws.WRONG_CLOCK,
    Row(
        codes=("KMSAccessDenied", "KMSDisabled", "KMSInvalidState", "KMSNotFound", "KMSOptInRequired"),
        meaning=Meaning(kind=Kind.UNAUTHORIZED, why="the account's KMS key cannot be used", alert=True),
    ),
    Row(
        codes=_INVALID,
        words=("is not valid to publish to", "parameter: phonenumber"),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="SNS does not send to this number from this region"),
    ),
    Row(
        codes=_INVALID,
        words=("originationnumber", "origination number", "senderid", "sender id"),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="the sender is not one of the account's", alert=True),
    ),
    Row(
        codes=_INVALID,
        words=("message too long", "parameter: message reason"),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="SNS does not take this text"),
    ),
    Row(
        codes=_INVALID,
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="SNS does not take the request", alert=True),
    ),
    http.TOO_LARGE,
    http.REFUSED_CREDENTIALS,
    http.NOT_RECEIVED,
    http.REDIRECTED,
    http.UNKNOWN,
)


def classify(answer: Answer) -> Outcome:
    """What an HTTP answer of SNS means."""
    fields = _fields(answer.body)
    message_id, code = fields.get("MessageId", ""), fields.get("Code", "")
    said = Said(
        status=answer.status,
        code=aws.plain(code),
        complaints=(Complaint(fields.get("Message", "")),),
        has_id=bool(message_id),
    )
    return TABLE.outcome(answer, said, code=code, message_id=message_id)


def _fields(body: bytes) -> dict[str, str]:
    """The texts of an answer's leaf elements by their names without namespace."""
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError):
        return {}
    return {e.tag.rpartition("}")[2]: e.text.strip() for e in root.iter() if e.text and e.text.strip()}
