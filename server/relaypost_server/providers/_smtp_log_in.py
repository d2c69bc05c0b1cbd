"""Ways to log in at an SMTP server (RFC 4954)."""

from typing import Protocol

import aiosmtplib
from aiosmtplib import SMTP, SMTPResponse

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.providers._oauth_tokens import TokenError, Tokens
from relaypost_server.providers._smtp_meanings import RefusedError, row_of
from relaypost_server.providers._smtp_replies import CLOSING
from relaypost_server.providers._smtp_rows import Stage

NO_WAY = "the server offers no way to log in that we know"
NO_XOAUTH2 = "the server offers no XOAUTH2; check SMTP_HOST, or set SMTP_PASSWORD in place of tokens"
TOKEN_REFUSED = "the token is refused: check its scope, and that it may send as SMTP_USER (docs/setup.md)"  # noqa: S105


class LogIn(Protocol):
    """A way to log in. `prepare` fetches what `enter` needs before the connection is opened."""

    way: str
    """A description for operators."""

    async def prepare(self) -> tuple[str, bool]:
        """What `enter` needs, and whether it was kept from an earlier log-in. Raises RefusedError."""
        ...

    async def enter(self, smtp: SMTP, prepared: str) -> None:
        """Logs in. Raises RefusedError, SMTPException or OSError."""
        ...

    def forget(self, prepared: str) -> None:
        """Forgets what `prepare` gave: the server refused it."""
        ...

    async def close(self) -> None: ...


class NoLogIn:
    """The server takes messages from every client that may connect."""

    way = "no log-in"

    async def prepare(self) -> tuple[str, bool]:
        return "", False

    async def enter(self, smtp: SMTP, prepared: str) -> None:
        return None

    def forget(self, prepared: str) -> None:
        return None

    async def close(self) -> None:
        return None


class PasswordLogIn(NoLogIn):
    """Logs in with a user and a password: CRAM-MD5, PLAIN or LOGIN."""

    way = "log-in with a password"

    def __init__(self, user: str, password: str) -> None:
        self._user = user
        self._password = password

    async def enter(self, smtp: SMTP, prepared: str) -> None:
        try:
            await smtp.login(self._user, self._password)
        except aiosmtplib.SMTPAuthenticationError as error:
            raise _refused(error) from None
        except aiosmtplib.SMTPException as error:
            if isinstance(error, OSError):  # Lost or timed out: that is no answer about the log-in.
                raise
            raise RefusedError(Outcome(kind=Kind.UNAUTHORIZED, detail=NO_WAY, alert=True)) from None


class TokenLogIn:
    """Logs in with a user and an access token of OAuth 2.0: XOAUTH2, as Google and Microsoft describe it.

    developers.google.com/workspace/gmail/imap/xoauth2-protocol
    """

    def __init__(self, user: str, tokens: Tokens) -> None:
        self.way = f"log-in by XOAUTH2 ({tokens.source.way})"
        self._user = user
        self._tokens = tokens

    async def prepare(self) -> tuple[str, bool]:
        try:
            return await self._tokens.get()
        except TokenError as error:
            kind = Kind.UNREACHABLE if error.passing else Kind.UNAUTHORIZED
            detail = f"no access token: {error}; {self._tokens.source.cure}"
            raise RefusedError(Outcome(kind=kind, detail=detail, alert=True)) from None

    async def enter(self, smtp: SMTP, prepared: str) -> None:
        if "xoauth2" not in smtp.server_auth_methods:
            raise RefusedError(Outcome(kind=Kind.UNAUTHORIZED, detail=NO_XOAUTH2, alert=True))
        try:
            await smtp.auth_xoauth2(self._user, prepared)
        except aiosmtplib.SMTPAuthenticationError as error:
            raise _refused(error, cure=TOKEN_REFUSED) from None

    def forget(self, prepared: str) -> None:
        self._tokens.discard(prepared)

    async def close(self) -> None:
        await self._tokens.close()


def _refused(error: aiosmtplib.SMTPAuthenticationError, *, cure: str = "") -> Exception:
    if error.code == CLOSING:
        return aiosmtplib.SMTPServerDisconnected("closed during log-in")
    reply = SMTPResponse(error.code, error.message)
    row = row_of(Stage.AUTH, reply)
    return RefusedError(row.outcome(reply, cure=cure if row.meaning.kind is Kind.UNAUTHORIZED else ""))
