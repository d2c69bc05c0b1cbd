"""Reads an email out of a request."""

from collections.abc import Sequence

from relaypost.v1 import email_pb2

from relaypost_server.api.addresses import read_email_address
from relaypost_server.api.attachments import read_attachments
from relaypost_server.api.email_headers import read_headers, read_tags
from relaypost_server.api.rendering import check_no_template, rendered
from relaypost_server.api.violations import Violations
from relaypost_server.core.adjustments import AdjustmentKind
from relaypost_server.core.message import Address, Email, Tracking
from relaypost_server.core.ports import Renderer
from relaypost_server.core.rendering import RenderedEmail

MOST_RECIPIENTS = 50
MOST_REPLY_TO = 10
LONGEST_SUBJECT = 998
LONGEST_NAME = 128
LONGEST_BODY = 1024 * 1024

_TRACKING = {
    email_pb2.EMAIL_TRACKING_UNSPECIFIED: None,
    email_pb2.EMAIL_TRACKING_OFF: Tracking.OFF,
    email_pb2.EMAIL_TRACKING_ON: Tracking.ON,
}


class EmailReader:
    """What a gateway adds to and demands of every email."""

    def __init__(self, default_sender: Address | None, most_attachment_bytes: int, templates: Renderer) -> None:
        self._default_sender = default_sender
        self._most_attachment_bytes = most_attachment_bytes
        self._templates = templates

    def read(self, email: email_pb2.Email, bad: Violations) -> Email:
        """The email; its complaints are added to `bad`, and it must not be used if there are any."""
        sender = self._sender(email, bad)
        to, cc, bcc = _recipients(email, bad)
        words = self._rendered(email, bad) if email.template else _words(email, bad)
        return Email(
            sender=sender,
            to=to,
            cc=cc,
            bcc=bcc,
            reply_to=_reply_to(email, bad),
            subject=words.subject,
            text=words.text,
            html=words.html,
            attachments=read_attachments(email.attachments, bad, most_bytes=self._most_attachment_bytes),
            headers=read_headers(email.headers, bad),
            tags=read_tags(email.tags, bad),
            envelope_sender=read_email_address("email.envelope_sender", email.envelope_sender, bad),
            tracking=_tracking(email, bad, secret=words.secret),
        )

    def _sender(self, email: email_pb2.Email, bad: Violations) -> Address:
        if email.HasField("sender"):
            return read_mailbox("email.sender", email.sender, bad)
        if self._default_sender is None:
            bad.add("email.sender", "is required, for the gateway has no OTP_FROM_EMAIL")
            return Address(email="")
        return self._default_sender

    def _rendered(self, email: email_pb2.Email, bad: Violations) -> RenderedEmail:
        """The words, as the template makes them."""
        words = {"subject": email.subject, "text": email.text, "html": email.html}
        return rendered("email", email, self._templates.email, bad, words=words) or _NOTHING


_NOTHING = RenderedEmail(subject="", text="", html="", locale="")


def asked_tracking(email: email_pb2.Email) -> Tracking | None:
    """The tracking that the caller asked for; the template may outweigh it."""
    return _TRACKING.get(email.tracking)


def _tracking(email: email_pb2.Email, bad: Violations, *, secret: bool) -> Tracking | None:
    """`secret`: the template is. Tracking would tell its links to the provider, and to the provider's logs."""
    asked = asked_tracking(email)
    if email.tracking not in _TRACKING:
        bad.add("email.tracking", "is not a known way of tracking")
    if secret and asked is Tracking.ON:
        bad.adjusted("email.tracking", AdjustmentKind.IGNORED, "the template is marked secret, and never tracked")
    return Tracking.OFF if secret else asked


def _words(email: email_pb2.Email, bad: Violations) -> RenderedEmail:
    """Subject, text and html, as they were given."""
    check_no_template("email", email, bad)
    subject = bad.repaired_line("email.subject", email.subject, longest=LONGEST_SUBJECT, required=True)
    text = bad.repaired_prose("email.text", email.text, most_bytes=LONGEST_BODY)
    html = bad.repaired_prose("email.html", email.html, most_bytes=LONGEST_BODY)
    if not (text or html or email.attachments):
        bad.add("email.text", "is required, or html or attachments")
    return RenderedEmail(subject=subject, text=text, html=html, locale="")


def _recipients(email: email_pb2.Email, bad: Violations) -> Sequence[tuple[Address, ...]]:
    """To, cc and bcc; an address that was read before is left out."""
    seen: set[str] = set()
    given = len(email.to) + len(email.cc) + len(email.bcc)
    to = _unseen("email.to", email.to, seen, bad)
    cc = _unseen("email.cc", email.cc, seen, bad)
    bcc = _unseen("email.bcc", email.bcc, seen, bad)
    if given == 0:
        bad.add("email.to", "is required: an email needs a recipient")
    elif given > MOST_RECIPIENTS:
        bad.add("email.to", f"to, cc and bcc have {given} addresses, at most {MOST_RECIPIENTS} are allowed")
    return to, cc, bcc


def _unseen(
    field: str, addresses: Sequence[email_pb2.EmailAddress], seen: set[str], bad: Violations
) -> tuple[Address, ...]:
    """Of too many, the first: a complaint about their number follows."""
    if not addresses:
        return ()
    found = []
    for position, address in enumerate(addresses[:MOST_RECIPIENTS]):
        recipient = read_mailbox(f"{field}[{position}]", address, bad)
        key = recipient.email.lower()
        if key not in seen:
            seen.add(key)
            found.append(recipient)
    return tuple(found)


def read_mailbox(field: str, address: email_pb2.EmailAddress, bad: Violations) -> Address:
    """An address with its display name; its complaints are added to `bad`."""
    name = address.display_name
    if name:
        name = bad.repaired_line(f"{field}.display_name", name, longest=LONGEST_NAME, name=True)
    email = read_email_address(f"{field}.address", address.address, bad)
    if not address.address:
        bad.add(f"{field}.address", "is required")
    return Address(email=email, name=name)


def _reply_to(email: email_pb2.Email, bad: Violations) -> tuple[Address, ...]:
    if not email.reply_to:
        return ()
    if len(email.reply_to) > MOST_REPLY_TO:
        bad.add("email.reply_to", f"has {len(email.reply_to)} addresses, at most {MOST_REPLY_TO} are allowed")
        return ()
    return tuple(read_mailbox(f"email.reply_to[{i}]", a, bad) for i, a in enumerate(email.reply_to))
