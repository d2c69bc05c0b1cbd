"""The table of SMTP's replies: what they mean, at which stage of the dialogue.

The first row that fits a reply counts. A server's own words outweigh its codes, but for the codes of an unknown
recipient. An exact enhanced status code (RFC 3463) outweighs its class, and the class outweighs the reply code (RFC
5321, section 4.2.3). `rejected` ends the chain of providers, so it is only for what the recipient's address itself
proves; all else goes on to the next provider.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

from aiosmtplib import SMTPResponse

from relaypost_server.core.outcome import Kind, Outcome
from relaypost_server.providers._enhanced_codes import NO_SUCH_MAILBOX, UNKNOWN_RECIPIENT
from relaypost_server.providers._meanings import Meaning, outcome_of
from relaypost_server.providers._smtp_replies import code_of

LATCH_SECONDS: Final = 3600.0
"""Seconds for which a server gets no message after it said that our quota is used up."""


class Stage(StrEnum):
    """The step of the dialogue that a reply answers."""

    GREETING = "greeting"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    DOT = "dot"
    """The end of the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRow:
    """One meaning, and the conditions of the replies that have it. An empty condition fits every reply."""

    at: frozenset[Stage]
    code: tuple[str, ...] = ()
    """Prefixes of the reply code. One of them must fit."""
    status: tuple[str, ...] = ()
    """Enhanced status codes, or classes of them such as "5.1"."""
    says: re.Pattern[str] | None = None
    example: str = ""
    """Words that `says` finds, separated by "; ". The documentation and the tests use them."""
    unusual: bool = False
    """Only where the recipient's local part is quoted or not ASCII."""
    meaning: Meaning
    gone: bool = False
    """The reply proves that the mailbox does not exist."""
    split: bool = False
    """If the transaction already has recipients, this one and those after it go into another transaction."""
    cure: str = ""

    def fits(self, stage: Stage, code: str, status: str, words: str, *, unusual: bool) -> bool:
        if stage not in self.at or (self.unusual and not unusual):
            return False
        if self.code and not code.startswith(self.code):
            return False
        if self.status and not _is_one_of(status, self.status):
            return False
        return self.says is None or self.says.search(words) is not None

    def outcome(self, reply: SMTPResponse, *, cure: str = "") -> Outcome:
        """The outcome of the reply. `cure` replaces the row's own."""
        advice = cure or self.cure
        detail = f"SMTP {reply.code}: {self.meaning.why}" + (f"; {advice}" if advice else "")
        return outcome_of(self.meaning, detail=detail, text=reply.message, code=code_of(reply))


def _is_one_of(status: str, wanted: Sequence[str]) -> bool:
    return any(status == one or (one.count(".") == 1 and status.startswith(f"{one}.")) for one in wanted)


_S = Stage
_ALL = frozenset(Stage)
_MESSAGE = frozenset({_S.MAIL, _S.RCPT, _S.DATA, _S.DOT})
_BEFORE = frozenset({_S.GREETING, _S.EHLO, _S.STARTTLS, _S.AUTH, _S.MAIL, _S.RCPT, _S.DATA})
_TALK = _MESSAGE | {_S.GREETING, _S.EHLO}
_CONTENT = frozenset({_S.DATA, _S.DOT})
_UNKNOWN: Final = " ".join(UNKNOWN_RECIPIENT)
_OF_NO_USE: Final = " ".join(code for code in NO_SUCH_MAILBOX if code not in UNKNOWN_RECIPIENT)
_LOG_IN: Final = "check SMTP_USER and SMTP_PASSWORD, or use XOAUTH2 (docs/setup.md)"
_NO_PASSWORDS: Final = "use XOAUTH2, as in RELAYPOST_SMTP_OAUTH_TOKEN_URL (docs/setup.md)"


def _row(
    kind: Kind,
    why: str,
    *,
    at: frozenset[Stage] | set[Stage] = _MESSAGE,
    code: str = "",
    status: str = "",
    says: tuple[str, str] = ("", ""),
    alert: bool = False,
    blames: bool = False,
    latch: float | None = None,
    unusual: bool = False,
    gone: bool = False,
    split: bool = False,
    cure: str = "",
) -> ReplyRow:
    """`says`: a pattern of words, and an example of them."""
    pattern, example = says
    meaning = Meaning(kind=kind, why=why, alert=alert, blames_recipient=blames, latch=latch)
    return ReplyRow(
        at=frozenset(at),
        code=tuple(code.split()),
        status=tuple(status.split()),
        says=re.compile(pattern, re.IGNORECASE) if pattern else None,
        example=example,
        unusual=unusual,
        meaning=meaning,
        gone=gone,
        split=split,
        cure=cure,
    )


_deferred = partial(_row, Kind.DEFERRED)
_faulted = partial(_row, Kind.FAULTED)
_rejected = partial(_row, Kind.REJECTED)
_throttled = partial(_row, Kind.THROTTLED)
_unauthorized = partial(_row, Kind.UNAUTHORIZED, alert=True)
_unreachable = partial(_row, Kind.UNREACHABLE)
_unsupported = partial(_row, Kind.UNSUPPORTED)

_RELAY: Final = (
    r"relay(ing)?( access)? (is )?(denied|not permitted|not allowed|prohibited)|(cannot|unable to|not) relay",
    "Relay access denied",
)
_LISTED: Final = (
    r"block(ed|ing) (using|by|on)|block-?list|black-?list|spamhaus|\brbl\b|(poor|bad|low) reputation",
    "blocked using",
)
_SENDER: Final = (
    (
        r"send(ing)? as|sendasdenied|not owned by user|not verified"
        r"|sender (address |domain |verify |verification )?(is )?(rejected|denied|refused|failed|not)"
        r"|not (allowed|permitted|authori[sz]ed) to send"
    ),
    "send as this sender; not owned by user; address is not verified",
)
_QUOTA: Final = (
    (
        r"(daily|hourly|monthly|sending|submission|relay)\b[^.]{0,40}\b(quota|limit)s?\b[^.]{0,20}\b(exceed|reached)"
        r"|(exceed\w*|reached)\b[^.]{0,40}\b(daily|hourly|monthly|sending)\b[^.]{0,40}\b(quota|limit)"
        r"|submissionquotaexceeded"
    ),
    "Daily user sending quota exceeded",
)
_RATE: Final = (
    (
        r"throttl|rate ?limit|unusual rate|(thread|connection|rate) limit exceeded|too much mail"
        r"|sending too (fast|quickly)|too many (messages|mails|emails|connections|concurrent|requests)"
    ),
    "Throttling failure; too much mail",
)
_NO_BASIC: Final = (
    r"basic auth\w* (is )?(disabled|not supported)|smtpclientauthentication is disabled",
    "basic authentication is disabled",
)
_NOT_LOGGED_IN: Final = (
    r"not authenticated|authentication (is )?required|must (be )?authenticate|log ?in first",
    "authentication required",
)
_EHLO_NAME: Final = (
    r"\b(helo|ehlo)\b.{0,60}\b(reject|need\b|invalid)|\binvalid\b.{0,30}\b(helo|ehlo)\b",
    "Helo command rejected; invalid HELO",
)

ROWS: Final = (
    # Codes that prove more than any words beside them.
    _rejected("there is no such recipient", at={_S.RCPT}, status=_UNKNOWN, gone=True),
    _unsupported("a recipient does not exist", at=_CONTENT, status=_UNKNOWN, blames=True),
    # Words that tell more than the code beside them.
    _deferred(
        "this recipient is for another transaction",
        at={_S.RCPT},
        says=("too many recipients|multiple destination domains", "too many recipients"),
        split=True,
    ),
    _deferred("this recipient is for another transaction", at={_S.RCPT}, status="4.5.3 5.5.3", split=True),
    _deferred(
        "the recipient gets too much mail now",
        says=(r"receiving (mail|messages) (too quickly|at a rate)", "receiving mail too quickly"),
    ),
    _deferred(
        "the recipient's mailbox is full",
        says=(r"(mail|in)box\b[^.]{0,30}\b(full|quota)|over ?quota", "mailbox is full"),
    ),
    _throttled("our quota there is used up", at=_TALK, says=_QUOTA, code="4 5", latch=LATCH_SECONDS),
    _throttled("our quota there is used up", status="5.4.5 5.1.90", latch=LATCH_SECONDS),
    _throttled("the server limits our rate", at=_TALK, says=_RATE, code="4 5"),
    _unauthorized(
        "the server takes no passwords any more", at=_MESSAGE | {_S.AUTH}, status="5.7.30 5.7.139", cure=_NO_PASSWORDS
    ),
    _unauthorized(
        "the server takes no passwords any more", at=_MESSAGE | {_S.AUTH}, says=_NO_BASIC, cure=_NO_PASSWORDS
    ),
    _unsupported("the server does not relay for us", at=_TALK, says=_RELAY, code="5", alert=True),
    _deferred("the server does not relay for us now", says=_RELAY, code="4", alert=True),
    _unsupported("we are on a block list there", at=_TALK, says=_LISTED, code="5", alert=True),
    _deferred("we are on a block list there", at=_TALK, says=_LISTED, code="4", alert=True),
    _unsupported("the sender may not be used there", says=_SENDER, code="5", alert=True),
    _unsupported("the sender may not be used there", status="5.1.7 5.1.8 5.2.252 5.7.60", alert=True),
    _unsupported(
        "our EHLO name is refused",
        at=_TALK,
        says=_EHLO_NAME,
        code="501 504 550 554",
        alert=True,
        cure="set RELAYPOST_SMTP_LOCAL_HOSTNAME",
    ),
    _deferred("the server greylists us", says=(r"\bgr[ae]y-?list", "greylisted"), code="4"),
    # The server hangs up, or gives no TLS.
    _unreachable("the server closes the connection", at=_BEFORE, code="421"),
    _faulted("the server closes, and did not take the message", at={_S.DOT}, code="421"),
    _unreachable("no TLS", at={_S.STARTTLS}),
    # Log-in.
    _unauthorized("the log-in is refused", at=_ALL - {_S.STARTTLS}, code="534 535", cure=_LOG_IN),
    _unauthorized("the server wants a log-in", at=_ALL - {_S.STARTTLS}, code="530 538", cure=_LOG_IN),
    _throttled("the server takes no log-in now", at={_S.AUTH}, code="4"),
    _unauthorized("the log-in is refused", at={_S.AUTH}, cure=_LOG_IN),
    _unauthorized("the server wants a log-in", status="5.7.8 5.7.9 5.7.57", cure=_LOG_IN),
    _unauthorized("the server wants a log-in", says=_NOT_LOGGED_IN, code="5", cure=_LOG_IN),
    # Addresses.
    _unsupported("the recipient's address is of no use there", at={_S.RCPT}, status="5.1.3", unusual=True, blames=True),
    _rejected("there is no such recipient", at={_S.RCPT}, status=_OF_NO_USE, gone=True),
    _unsupported("a recipient does not exist", at=_CONTENT, status=_OF_NO_USE, blames=True),
    _unsupported("the recipient's address is refused", at=_MESSAGE - {_S.MAIL}, status="5.1.0", blames=True),
    _unsupported("the sender's address is refused", at={_S.MAIL}, status="5.1", alert=True),
    _unsupported("the recipient's address is refused", at=_MESSAGE - {_S.MAIL}, status="5.1"),
    _deferred("an address is refused for now", status="4.1"),
    # Mailboxes, sizes, systems, routes, protocols, content, policies.
    _deferred("the recipient's mailbox is full", status="5.2.2"),
    _unsupported("the message is too large there", status="5.2.3 5.3.4"),
    _unsupported("the recipient's mailbox refuses it", at={_S.RCPT}, status="5.2"),
    _unsupported("a mailbox refuses it", at=_MESSAGE - {_S.RCPT}, status="5.2", alert=True),
    _deferred("the mailbox takes nothing now", status="4.2"),
    _unsupported("the server's system refuses it", at=_MESSAGE | {_S.EHLO}, status="5.3", alert=True),
    _faulted("the server's system is in trouble", status="4.3"),
    _unsupported("the server finds no way to the recipient", status="5.4"),
    _deferred("the server finds no way to the recipient now", at={_S.RCPT}, status="4.4"),
    _faulted("the server's network is in trouble", at=_MESSAGE - {_S.RCPT}, status="4.4"),
    _unsupported("the server does not understand us", at=_MESSAGE | {_S.EHLO}, status="5.5", alert=True),
    _faulted("the server does not understand us now", status="4.5"),
    _unsupported("the server cannot carry this content", status="5.6"),
    _deferred("the server cannot carry this content now", status="4.6"),
    _unsupported("the server's policy refuses us", at=_TALK, status="5.7", alert=True),
    _deferred("the server's policy refuses it for now", status="4.7"),
    # Replies without an enhanced status code.
    _unsupported("the recipient is refused", at={_S.RCPT}, code="550 551 553", blames=True),
    _deferred("the recipient's mailbox is full", at={_S.RCPT}, code="552", split=True),
    _unsupported("the message is too large there", at=_MESSAGE - {_S.RCPT}, code="552"),
    _faulted("the server has no space left", at={_S.RCPT}, code="452", split=True),
    _faulted("the server has no space left", at=_MESSAGE - {_S.RCPT}, code="452"),
    _deferred("the sender or recipient is refused for now", at={_S.MAIL, _S.RCPT}, code="4"),
    _deferred("a mailbox takes nothing now", at=_CONTENT, code="450"),
    _faulted("the server is in trouble", at=_CONTENT, code="4"),
    # Everything else.
    _unreachable("the server takes no connection", at={_S.GREETING}),
    _unreachable("the server takes no session now", at={_S.EHLO}, code="4"),
    _unsupported("the server refuses it", at=_MESSAGE | {_S.EHLO}, code="5", alert=True),
    _row(Kind.UNCONFIRMED, "the reply to the message makes no sense", at={_S.DOT}),
    _faulted("the reply makes no sense", at={_S.EHLO, _S.MAIL, _S.RCPT, _S.DATA}),
)
"""In this order. At each stage one of them fits every reply."""
