"""Hands one email over in as many SMTP transactions as the server needs. Some limit the recipients of a transaction.

RFC 5321, section 4.5.3.1.10: recipients that are refused with 452 go into another transaction. All transactions make
one outcome. A recipient that one transaction accepted is in no later one.
"""

import asyncio
from collections.abc import Sequence

import aiosmtplib
from aiosmtplib import SMTP, SMTPResponse

from relaypost_server.core.outcome import PROVIDER_ID_LIMIT, Kind, Outcome, RefusedRecipient
from relaypost_server.core.value import replace
from relaypost_server.providers._attempt_time import AttemptTime
from relaypost_server.providers._smtp_envelope import Envelope, is_unusual, rcpt
from relaypost_server.providers._smtp_meanings import (
    ClosingError,
    RefusedError,
    all_refused,
    outcome_at,
    row_of,
)
from relaypost_server.providers._smtp_pool import Pool, Session
from relaypost_server.providers._smtp_replies import CLOSING, code_of, positive, queue_id
from relaypost_server.providers._smtp_rows import ReplyRow, Stage

_GO_AHEAD = 354


class WriteLimit:
    """The time-out of the dialogue: first the time left to write the message, then the time left for the answer."""

    def __init__(self, attempt: AttemptTime) -> None:
        self.attempt = attempt
        self._submitted = False
        """The server may have received the final dot."""
        self.scope = asyncio.timeout(attempt.left_to_write)

    def begin(self) -> None:
        """Begins another transaction. Until `submit`, a lost connection means that nothing was sent."""
        self._submitted = False
        self._reschedule(self.attempt.left_to_write)

    def submit(self) -> None:
        """Marks that the message may be sent from here on. Raises TimeoutError if it is too late to send it."""
        seconds = self.attempt.left_for_answer()
        if seconds is None:
            raise TimeoutError
        self._submitted = True
        self._reschedule(seconds)

    def lost(self, error: Exception) -> Outcome:
        """The outcome of a lost connection or a time-out."""
        what = "time-out" if isinstance(error, TimeoutError) else type(error).__name__
        late = self.scope.expired() or self.attempt.left_to_write <= 0
        if self._submitted:
            detail = f"no reply after the message was sent ({what})"
            if self.scope.expired():
                return self.attempt.over(Kind.UNCONFIRMED, detail)
            return Outcome(kind=Kind.UNCONFIRMED, detail=detail)
        if late and what == "time-out":
            return self.attempt.too_late()
        return Outcome(kind=Kind.UNREACHABLE, detail=f"lost before the message was sent ({what})")

    def _reschedule(self, seconds: float) -> None:
        self.scope.reschedule(asyncio.get_running_loop().time() + seconds)


class Transactions:
    """The transactions of one email. Call `run`, then `outcome`; or `ended` if `run` raised."""

    def __init__(self, pool: Pool, envelope: Envelope, content: bytes, limit: WriteLimit) -> None:
        self._pool = pool
        self._envelope = envelope
        self._content = content
        self._limit = limit
        self._left = list(envelope.recipients)
        """Recipients that are neither accepted nor refused yet."""
        self._offered: set[str] = set()
        """The recipients of the current transaction. If its dot is not answered, only they are unconfirmed."""
        self._refused: dict[str, RefusedRecipient] = {}
        self._gone: list[str] = []
        self._accepted: list[SMTPResponse] = []
        self._alert = False

    async def run(self, session: Session) -> None:
        """Runs transactions until each recipient is accepted or refused.

        Raises RefusedError, SMTPException or OSError if a transaction fails as a whole.
        """
        await self._transaction(session)
        while self._left:
            session.kept = True
            self._limit.begin()
            await self._transaction(session)

    def ended(self, outcome: Outcome) -> Outcome:
        """The outcome of an email whose last transaction failed with `outcome`."""
        if not self._accepted:
            return replace(outcome, gone=tuple(self._gone))
        self._alert = self._alert or outcome.alert
        for recipient in self._left:
            unconfirmed = outcome.kind is Kind.UNCONFIRMED and recipient in self._offered
            self._refused[recipient] = _not_taken(recipient, outcome, unconfirmed=unconfirmed)
        # The server accepted mail before it failed, so its circuit learns nothing.
        return replace(self.outcome(), neutral=True)

    def outcome(self) -> Outcome:
        """The outcome of an email of which at least one transaction was accepted."""
        first = self._accepted[0]
        ids = [found for reply in self._accepted if (found := queue_id(reply.message))]
        return Outcome(
            kind=Kind.ACCEPTED,
            detail=self._detail(),
            provider_text=first.message,
            provider_code=code_of(first),
            provider_message_id=_joined(ids),
            refused=tuple(self._refused[r] for r in self._envelope.recipients if r in self._refused),
            gone=tuple(self._gone),
            alert=self._alert,
        )

    def _detail(self) -> str:
        in_several = f"accepted in {len(self._accepted)} transactions" if len(self._accepted) > 1 else ""
        if not self._refused:
            return in_several
        return f"{in_several or 'accepted'}, but for {len(self._refused)} refused recipients"

    async def _transaction(self, session: Session) -> None:
        """Offers the recipients that are left, and sends the email for those that the server accepts."""
        await self._mail(session)
        self._offered = taken = await self._rcpt(session.smtp)
        await self._data(session.smtp)
        self._left = [r for r in self._left if r not in taken]

    async def _mail(self, session: Session) -> None:
        """Sends MAIL. If the server closed a kept connection between two messages, a new one is opened once."""
        try:
            reply = await _ask(session.smtp, Stage.MAIL, *self._envelope.mail(session.smtp))
        except (ClosingError, aiosmtplib.SMTPServerDisconnected) as error:
            if not session.kept:
                raise
            if isinstance(error, ClosingError):
                self._pool.closed(session, error.reply)
            await self._pool.renew(session, self._limit.attempt)
            reply = await _ask(session.smtp, Stage.MAIL, *self._envelope.mail(session.smtp))
        if not positive(reply):
            raise RefusedError(outcome_at(Stage.MAIL, reply))
        self._pool.began(session)

    async def _rcpt(self, smtp: SMTP) -> set[str]:
        """The recipients that the server accepts in this transaction. Raises RefusedError if it accepts none."""
        taken: set[str] = set()
        refusals: list[tuple[ReplyRow, SMTPResponse]] = []
        for recipient in tuple(self._left):
            reply = await _ask(smtp, Stage.RCPT, rcpt(recipient))
            if positive(reply):
                taken.add(recipient)
                continue
            row = row_of(Stage.RCPT, reply, unusual=is_unusual(recipient))
            if taken and row.split:
                break  # Servers count further refusals as errors, and hang up at some number of them.
            refusals.append((row, reply))
            self._refuse(recipient, row, reply)
        if not taken:
            raise RefusedError(all_refused(refusals))
        return taken

    def _refuse(self, recipient: str, row: ReplyRow, reply: SMTPResponse) -> None:
        self._left.remove(recipient)
        self._alert = self._alert or row.meaning.alert
        self._refused[recipient] = RefusedRecipient(
            address=recipient,
            provider_code=code_of(reply),
            temporary=row.meaning.kind is not Kind.REJECTED,
        )
        if row.gone:
            self._gone.append(recipient)

    async def _data(self, smtp: SMTP) -> None:
        """Sends the message and reads the reply to its final dot."""
        reply = await _ask(smtp, Stage.DATA)
        if reply.code != _GO_AHEAD:
            raise RefusedError(outcome_at(Stage.DATA, reply))
        protocol = smtp.protocol
        if protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("lost before the message")
        self._limit.submit()
        protocol.write(_dotted(self._content))
        reply = await protocol.read_response(timeout=smtp.timeout)
        if not positive(reply):
            raise RefusedError(outcome_at(Stage.DOT, reply))
        self._accepted.append(reply)


def _not_taken(recipient: str, outcome: Outcome, *, unconfirmed: bool) -> RefusedRecipient:
    """A recipient that was left when a transaction failed with `outcome`, after an earlier one was accepted."""
    if unconfirmed:
        return RefusedRecipient(address=recipient, provider_code="", temporary=False, unconfirmed=True)
    return RefusedRecipient(address=recipient, provider_code=outcome.provider_code, temporary=True)


def _joined(ids: Sequence[str]) -> str:
    """The ids, separated by commas; only whole ids, within PROVIDER_ID_LIMIT characters."""
    joined = ",".join(ids)
    return joined if len(joined) <= PROVIDER_ID_LIMIT else joined[: PROVIDER_ID_LIMIT + 1].rpartition(",")[0]


def _dotted(content: bytes) -> bytes:
    """The content with its leading dots doubled, and the dot that ends it (RFC 5321, section 4.5.2)."""
    end = b".\r\n" if content.endswith(b"\r\n") else b"\r\n.\r\n"
    return content.replace(b"\r\n.", b"\r\n..") + end


async def _ask(smtp: SMTP, stage: Stage, *arguments: bytes) -> SMTPResponse:
    """The reply to a command that comes before the message. Raises ClosingError if it is 421."""
    reply = await smtp.execute_command(stage.encode(), *arguments)
    if reply.code == CLOSING:
        smtp.close()
        raise ClosingError(outcome_at(stage, reply), reply)
    return reply
