"""What answers mean from whichever provider they come: rows for the beginnings and ends of all tables.

Sources: RFC 9110 section 15 (the status codes), RFC 6585 (429), RFC 8470 (425).
"""

from relaypost_server.core.outcome import Kind
from relaypost_server.providers._answer_table import FAILURES, OK, REDIRECTS, Row
from relaypost_server.providers._meanings import Meaning

ACCEPTED = Row(statuses=OK, has_id=True, meaning=Meaning(kind=Kind.ACCEPTED, why="accepted"))
NO_ID = Row(
    statuses=OK,
    meaning=Meaning(kind=Kind.UNCONFIRMED, why="a success that does not name what was accepted"),
)
"""It may come from a proxy or a portal in between."""
TOO_MANY = Row(statuses=(429,), meaning=Meaning(kind=Kind.THROTTLED, why="too many requests"))
LOST = Row(
    statuses=FAILURES,
    meaning=Meaning(kind=Kind.UNCONFIRMED, why="the provider failed, and may have sent the message"),
)
NOT_RECEIVED = Row(
    statuses=(408, 425),
    meaning=Meaning(kind=Kind.FAULTED, why="the provider did not take the request in"),
)
REFUSED_CREDENTIALS = Row(
    statuses=(401, 403),
    meaning=Meaning(kind=Kind.UNAUTHORIZED, why="the account or its credentials are refused", alert=True),
)
TOO_LARGE = Row(
    statuses=(413,),
    meaning=Meaning(kind=Kind.UNSUPPORTED, why="the message is larger than the provider takes"),
)
REDIRECTED = Row(
    statuses=REDIRECTS,
    meaning=Meaning(kind=Kind.UNSUPPORTED, why="a redirect, which is not followed", alert=True),
)
"""The endpoint is wrong, or a portal answers in the provider's place."""
UNKNOWN = Row(
    meaning=Meaning(kind=Kind.UNSUPPORTED, why="an answer that the gateway does not know", alert=True),
)
"""Another provider is asked, and an operator looks at what this one means."""
