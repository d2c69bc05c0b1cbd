"""What errors of any AWS service mean.

Source: "Common error types" in the API references of SES and SNS, and in AWS's General Reference.
"""

from relaypost_server.core.outcome import Kind
from relaypost_server.providers._answer_table import Row
from relaypost_server.providers._meanings import Meaning

THROTTLED = Row(
    codes=("Throttling", "Throttled", "TooManyRequests", "RequestLimitExceeded", "LimitExceeded"),
    meaning=Meaning(kind=Kind.THROTTLED, why="too many requests"),
)
UNAUTHORIZED = Row(
    codes=(
        "AccessDenied",
        "AuthorizationError",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidSignature",
        "MissingAuthenticationToken",
        "NotAuthorized",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "UnrecognizedClient",
    ),
    meaning=Meaning(kind=Kind.UNAUTHORIZED, why="the credentials are refused, or may not send", alert=True),
)
EXPIRED = Row(
    codes=("ExpiredToken",),
    meaning=Meaning(kind=Kind.UNAUTHORIZED, why="the session's keys have expired", alert=True),
)
"""AWS looks at the keys before the message: the request is signed with new ones first, and posted once more."""
WRONG_CLOCK = Row(
    codes=("RequestExpired", "RequestTimeTooSkewed"),
    meaning=Meaning(kind=Kind.UNAUTHORIZED, why="the clock of this machine is wrong", alert=True),
)


def without_namespace(code: str) -> str:
    """An error code without the namespace before it and the URL after it."""
    return code.split(":", maxsplit=1)[0].rpartition("#")[2]


def plain(code: str) -> str:
    """An error code as the tables write it: also without the ending "Exception"."""
    return without_namespace(code).removesuffix("Exception")
