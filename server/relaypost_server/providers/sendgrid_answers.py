"""What answers of SendGrid mean.

Sources: github.com/twilio/sendgrid-oai, tsg_mail_v3; twilio.com/docs/sendgrid/api-reference/mail-send/errors (the
texts and fields of 400); docs "Sandbox Mode" (a message that would be sent is answered with 200).

SendGrid has no error codes: the status, the field and the text say what is wrong. It looks at the form of addresses
alone, and more narrowly than others; no 400 of it holds for every provider.
"""

import time

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.providers import _http_answers as http
from relaypost_server.providers._answer_table import OK, REFUSALS, AnswerTable, Complaint, Row, Said
from relaypost_server.providers._connection import Answer
from relaypost_server.providers._http import LONGEST_RETRY_AFTER
from relaypost_server.providers._meanings import Meaning

CREDIT_LATCH = 3600.0
"""Seconds before an account without credits is asked again."""
ACCEPTS = (202,)
"""The status of an accepted message."""
_SANDBOX_OK = 200

TABLE = AnswerTable(
    Row(statuses=ACCEPTS, meaning=Meaning(kind=Kind.ACCEPTED, why="accepted")),
    Row(
        statuses=OK,
        meaning=Meaning(kind=Kind.UNCONFIRMED, why="a success that is not SendGrid's 202"),
    ),
    Row(
        statuses=REFUSALS,
        words=("maximum credits exceeded", "exceeded your messaging limits"),
        meaning=Meaning(kind=Kind.THROTTLED, why="the account's credits are used up", latch=CREDIT_LATCH),
    ),
    http.TOO_MANY,
    Row(statuses=(503,), meaning=Meaning(kind=Kind.FAULTED, why="SendGrid says that it is out of service")),
    http.LOST,
    Row(
        statuses=(400, 403),
        words=("sender identity",),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="the sender is no verified Sender Identity", alert=True),
    ),
    Row(
        statuses=(400,),
        fields=("from",),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="SendGrid does not take the sender", alert=True),
    ),
    Row(
        statuses=(400,),
        fields=("personalizations.to", "personalizations.cc", "personalizations.bcc"),
        words=("valid address", "valid email"),
        meaning=Meaning(
            kind=Kind.UNSUPPORTED, why="SendGrid calls a recipient's address invalid", blames_recipient=True
        ),
    ),
    Row(
        statuses=(400,),
        fields=("personalizations", "reply_to", "reply_to_list"),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="SendGrid does not take the addresses"),
    ),
    Row(
        statuses=(400,),
        fields=("subject", "content", "attachments", "headers", "custom_args", "categories"),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="SendGrid does not take the content"),
    ),
    Row(
        statuses=(400,),
        fields=("asm", "ip_pool_name", "mail_settings", "template_id", "tracking_settings"),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="SendGrid does not take a setting of the account", alert=True),
    ),
    Row(
        statuses=(400,),
        words=("valid address", "valid email"),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="SendGrid calls one of the addresses invalid"),
    ),
    Row(
        statuses=(400,),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="SendGrid does not take the request", alert=True),
    ),
    Row(
        statuses=(451,),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="SendGrid may not send this here for legal reasons", alert=True),
    ),
    Row(
        statuses=(409,),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="the request conflicts with the account's state", alert=True),
    ),
    http.TOO_LARGE,
    http.REFUSED_CREDENTIALS,
    Row(
        statuses=(404, 405, 406, 415),
        meaning=Meaning(kind=Kind.UNAUTHORIZED, why="SendGrid knows no such request: check the endpoint", alert=True),
    ),
    http.NOT_RECEIVED,
    http.REDIRECTED,
    http.UNKNOWN,
)


def classify(answer: Answer, *, sandbox: bool = False) -> Outcome:
    """What an HTTP answer of SendGrid means. In the sandbox, 200 says that all is well."""
    status = ACCEPTS[0] if sandbox and answer.status == _SANDBOX_OK else answer.status
    said = Said(status=status, complaints=_complaints(answer))
    message_id = answer.headers.get("x-message-id", "")
    return TABLE.outcome(
        answer, said, code=str(answer.status), message_id=message_id, wait=None if answer.ok else _reset(answer)
    )


def _complaints(answer: Answer) -> list[Complaint]:
    errors = [] if answer.ok else answer.json().get("errors")
    if not isinstance(errors, list):
        return []
    return [
        Complaint(str(error["message"]), str(error.get("field") or ""))
        for error in errors
        if isinstance(error, dict) and "message" in error
    ]


def _reset(answer: Answer) -> float | None:
    """Seconds until X-RateLimit-Reset (Unix time); None where it says nothing usable."""
    try:
        wait = float(answer.headers["x-ratelimit-reset"]) - time.time()
    except (KeyError, ValueError):
        return None
    return min(wait, LONGEST_RETRY_AFTER) if wait >= 0 else None
