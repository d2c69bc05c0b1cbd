"""What Twilio's answers to a send mean.

Sources: twilio.com/docs/api/errors, a page for each code. Twilio adds codes and splits old ones (changelog of
2024-07-10: 21659, 21660, 21661 and 21265, 21266 were 21211, 21212, 21606 and 21614 before): a code that is not in the
table goes on to the next provider, and an operator is told.
"""

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.providers import _http_answers as http
from relaypost_server.providers._answer_table import REFUSALS, AnswerTable, Complaint, Row, Said
from relaypost_server.providers._connection import Answer
from relaypost_server.providers._meanings import Meaning
from relaypost_server.providers.twilio_receipts import OPTED_OUT

DAY_LATCH = 3600.0
"""Seconds. The limit of messages a day is a rolling 24 hours: some of it is back within the hour."""

TABLE = AnswerTable(
    http.ACCEPTED,
    http.NO_ID,
    Row(
        statuses=REFUSALS,
        codes=("63038",),
        meaning=Meaning(kind=Kind.THROTTLED, why="the account's messages of the day are used up", latch=DAY_LATCH),
    ),
    Row(
        codes=("14107", "20429", "21611", "63017"),
        meaning=Meaning(kind=Kind.THROTTLED, why="too many requests, or a full queue"),
    ),
    Row(
        codes=("10001", "20003", "20005", "20006", "20008", "20010", "20403"),
        meaning=Meaning(kind=Kind.UNAUTHORIZED, why="the account or its credentials are refused", alert=True),
    ),
    http.TOO_MANY,
    # A 403 may be about the region or the number: its code tells.
    Row(
        statuses=(401,),
        meaning=Meaning(kind=Kind.UNAUTHORIZED, why="the account or its credentials are refused", alert=True),
    ),
    Row(statuses=(503,), meaning=Meaning(kind=Kind.FAULTED, why="Twilio says that it is out of service")),
    # Twilio's page on 20500 says that a repeated request may send twice.
    http.LOST,
    Row(
        statuses=REFUSALS,
        codes=("21211", "21214", "21217", "21265", "21614"),
        meaning=Meaning(kind=Kind.REJECTED, why="the number takes no text messages", blames_recipient=True),
    ),
    Row(
        statuses=REFUSALS,
        codes=(OPTED_OUT,),
        meaning=Meaning(kind=Kind.REJECTED, why="the recipient has opted out", opted_out=True),
    ),
    Row(
        statuses=REFUSALS,
        codes=("21602", "21617", "21619"),
        meaning=Meaning(kind=Kind.REJECTED, why="the text is empty or too long"),
    ),
    # Twilio sends to landlines of some countries only; others read texts out.
    Row(
        codes=("21635",),
        meaning=Meaning(
            kind=Kind.UNSUPPORTED, why="the number is a landline, where Twilio sends nothing", blames_recipient=True
        ),
    ),
    Row(
        codes=("21408",),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="the account's geo permissions leave the region out", alert=True),
    ),
    Row(
        codes=("21266", "21612"),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="Twilio does not reach this number from the sender"),
    ),
    Row(
        codes=("21618",),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="Twilio does not take this text"),
    ),
    Row(
        codes=("21212", "21219", "21601", "21603", "21606", "21607", "21616", "21657", "21659", "21660", "21661"),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="the sender is not one of the account's", alert=True),
    ),
    Row(
        codes=("21608",),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="a trial account sends to verified numbers only", alert=True),
    ),
    Row(
        codes=("21701", "21702", "21703", "21704", "21705"),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="the Messaging Service cannot send", alert=True),
    ),
    Row(
        codes=("21604", "21605", "21609", "21620", "21621", "21622", "21623", "21654", "21655", "21656", "21658"),
        meaning=Meaning(kind=Kind.UNSUPPORTED, why="Twilio does not take the request", alert=True),
    ),
    http.TOO_LARGE,
    http.NOT_RECEIVED,
    http.REDIRECTED,
    http.UNKNOWN,
)


def classify(answer: Answer) -> Outcome:
    """What an HTTP answer of Twilio means."""
    body = answer.json()
    sid = body.get("sid")
    sid = sid if isinstance(sid, str) else ""
    code = "" if answer.ok else str(body.get("code") or "")
    said = Said(
        status=answer.status,
        code=code,
        complaints=() if answer.ok else (Complaint(str(body.get("message", ""))),),
        has_id=bool(sid),
    )
    return TABLE.outcome(answer, said, message_id=sid)
