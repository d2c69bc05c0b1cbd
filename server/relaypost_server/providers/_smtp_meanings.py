"""What the replies of SMTP servers mean, by the table in `_smtp_rows`."""

from collections.abc import Sequence

from aiosmtplib import SMTPResponse

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.value import replace
from relaypost_server.providers._smtp_replies import status_of, words_of
from relaypost_server.providers._smtp_rows import ROWS, ReplyRow, Stage


class RefusedError(Exception):
    """Ends an attempt whose outcome is known, for example by a refusal. An open connection can still be used."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.kind)
        self.outcome = outcome


class ClosingError(RefusedError):
    """The server said 421 and closed the connection."""

    def __init__(self, outcome: Outcome, reply: SMTPResponse) -> None:
        super().__init__(outcome)
        self.reply = reply


def row_of(stage: Stage, reply: SMTPResponse, *, unusual: bool = False) -> ReplyRow:
    """The row of a reply that refuses. `unusual`: the recipient's local part is quoted or not ASCII."""
    code, status, words = str(reply.code), status_of(reply), words_of(reply)
    return next(row for row in ROWS if row.fits(stage, code, status, words, unusual=unusual))


def outcome_at(stage: Stage, reply: SMTPResponse) -> Outcome:
    """The outcome of a reply that refuses."""
    return row_of(stage, reply).outcome(reply)


_STRONGEST = (
    Kind.UNAUTHORIZED,
    Kind.THROTTLED,
    Kind.FAULTED,
    Kind.DEFERRED,
    Kind.UNSUPPORTED,
    Kind.REJECTED,
)
"""The order in which kinds count when all recipients were refused, for different reasons.

A recipient that another provider may reach outweighs one that does not exist.
"""


def all_refused(refusals: Sequence[tuple[ReplyRow, SMTPResponse]]) -> Outcome:
    """The outcome of a transaction that refused every recipient. `refusals` must not be empty."""
    row, reply = min(refusals, key=lambda refusal: _STRONGEST.index(refusal[0].meaning.kind))
    return replace(
        row.outcome(reply),
        alert=any(r.meaning.alert for r, _ in refusals),
        blames_recipient=any(r.meaning.blames_recipient or r.gone for r, _ in refusals),
    )
