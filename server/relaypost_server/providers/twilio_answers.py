"""What Twilio's answers to a send mean.

Codes: twilio.com/docs/api/errors.
"""

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.providers._connection import Answer
from relaypost_server.providers._http import lost_answer, retry_after
from relaypost_server.providers.twilio_receipts import OPTED_OUT

_MESSAGE_FAULTS = frozenset(
    [
        "21211",
        "21214",
        "21217",
        "21602",
        "21604",
        "21605",
        OPTED_OUT,
        "21614",
        "21617",
        "21618",
        "21619",
        "21620",
        "21621",
        "21622",
        "21623",
        "21635",
        "21654",
        "21655",
        "21656",
        "21658",
    ]
)
_OTHER_MAY_REACH = frozenset(["21408", "21612"])
_SET_UP_FAULTS = frozenset(
    ["21212", "21219", "21601", "21603", "21606", "21608", "21657", "21701", "21702", "21703", "21704", "21705"]
)
_LIMITS = frozenset(["14107", "20429", "21611", "63017"])
_ACCOUNT_FAULTS = frozenset(["10001", "20003", "20005", "20006", "20010", "20403"])


def classify(answer: Answer) -> Outcome:
    """What an HTTP answer of Twilio means."""
    body = answer.json()
    if answer.ok:
        sid = body.get("sid")
        if not isinstance(sid, str):
            return lost_answer(answer)
        return Outcome(kind=Kind.ACCEPTED, provider_message_id=sid)
    code, text = str(body.get("code", "")), str(body.get("message", ""))
    kind = _kind(answer.status, code)
    return Outcome(
        kind=kind,
        detail=f"HTTP {answer.status}",
        provider_text=text,
        provider_code=code,
        retry_after=retry_after(answer) if kind is Kind.THROTTLED else None,
        alert=kind is Kind.UNAUTHORIZED or (kind is Kind.UNSUPPORTED and code not in _OTHER_MAY_REACH),
        opted_out=code == OPTED_OUT,
    )


def _kind(status: int, code: str) -> Kind:
    if code in _LIMITS or status == 429:
        return Kind.THROTTLED
    if code in _ACCOUNT_FAULTS or status == 401:
        return Kind.UNAUTHORIZED
    if status >= 500:
        return Kind.FAULTED if status == 503 else Kind.UNCONFIRMED
    if code in _OTHER_MAY_REACH or code in _SET_UP_FAULTS:
        return Kind.UNSUPPORTED
    if code in _MESSAGE_FAULTS or code.startswith("21"):
        return Kind.REJECTED
    return Kind.UNSUPPORTED
