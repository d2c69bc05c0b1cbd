"""What the replies of SMTP servers mean, by the table in `_smtp_rows`."""

from collections.abc import Sequence

from aiosmtplib import SMTPResponse

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.core.value import replace
from relaypost_server.providers._smtp_replies import status_of, words_of
from relaypost_server.providers._smtp_rows import ROWS, ReplyRow, Stage


class RefusedError(Exception):
    """The outcome is known, the server's no for example; a connection that is open is still good."""

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
"""What counts where recipients were refused for several reasons: one that another provider may reach is enough."""


def all_refused(refusals: Sequence[tuple[ReplyRow, SMTPResponse]]) -> Outcome:
    """The outcome where every recipient was refused; at least one refusal."""
    row, reply = min(refusals, key=lambda refusal: _STRONGEST.index(refusal[0].meaning.kind))
    return replace(
        row.outcome(reply),
        alert=any(r.meaning.alert for r, _ in refusals),
        blames_recipient=any(r.meaning.blames_recipient or r.gone for r, _ in refusals),
    )
