"""Emails as people write them, from the call over a socket to what the provider is given.

Each test is an input of which a public bug report tells; the provider's peer reads strictly what it got.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from relaypost.v1 import email_pb2, failure_pb2, message_pb2, messaging_service_pb2 as pb

from tests.api.conftest import Serve
from tests.api.status import Failure, failure_of
from tests.api.test_validation import address, email, file
from tests.faults import peers
from tests.faults.received import Mail
from tests.providers.configured import OVER_HTTP, build

EVERY = ("ses", "sendgrid", "smtp")
UNSUPPORTED = message_pb2.OUTCOME_KIND_UNSUPPORTED
ACCEPTED = message_pb2.OUTCOME_KIND_ACCEPTED

pytestmark = pytest.mark.usefixtures("aws_keys")
everywhere = pytest.mark.parametrize("name", EVERY)


class Way:
    """A served gateway with one provider, and the peer of that."""

    def __init__(self, stub: Any, peer: peers.Peer) -> None:
        self._stub = stub
        self._peer = peer

    async def sent(self, **fields: Any) -> tuple[Mail, message_pb2.Message]:
        """The email as it arrived, and the answer to its call."""
        answer = await self._stub.SendEmail(email(**fields))
        (arrived,) = self._peer.inbox.values()
        self._peer.inbox.clear()
        if isinstance(arrived, Exception):
            raise arrived
        return arrived, answer.message

    async def refused(self, **fields: Any) -> Failure:
        """The failure of a call after which nothing arrived."""
        failure = await failure_of(self._stub.SendEmail(email(**fields)))
        assert self._peer.count == 0
        return failure

    async def passed_over(self, **fields: Any) -> str:
        """Why the provider cannot carry it."""
        failure = await self.refused(**fields)
        (told,) = failure.details(failure_pb2.SendFailure)
        (attempt,) = told.attempts
        assert attempt.kind == UNSUPPORTED
        return attempt.detail


OpenWay = Callable[[str], Awaitable[Way]]


@pytest.fixture
async def way(serve: Serve) -> AsyncIterator[OpenWay]:
    async with AsyncExitStack() as stack:

        async def opened(name: str) -> Way:
            peer, place = await stack.enter_async_context(getattr(peers, name)())
            if name == "smtp":
                environ = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(place), "RELAYPOST_SMTP_TLS": "none"}
            else:
                environ = OVER_HTTP[name](place)
            provider = build(name, environ)
            stack.push_async_callback(provider.close)
            served = await serve(emails=[provider])
            return Way(served.stub, peer)

        yield opened


def changes(message: message_pb2.Message) -> list[tuple[str, str]]:
    """The fields that were changed, and how."""
    kind = message_pb2.AdjustmentKind
    return [(a.field, kind.Name(a.kind).removeprefix("ADJUSTMENT_KIND_")) for a in message.adjustments]


@everywhere
@pytest.mark.parametrize(
    "display_name", ["Lovelace, Ada", "Ada; Grace", 'Ada "The" B.', "Müller, Jürgen", "a@b", "Ada"]
)
async def test_names_with_signs_of_addresses_stay_names(way: OpenWay, name: str, display_name: str) -> None:
    arrived, _ = await (await way(name)).sent(
        to=[address(name=display_name)],
        cc=[address("grace@example.com", display_name)],
        sender=address("me@example.com", display_name),
    )
    assert arrived.to == [(display_name, "ada@example.com")]
    assert arrived.cc == [(display_name, "grace@example.com")]
    assert arrived.sender == (display_name, "me@example.com")
    assert arrived.recipients == ["ada@example.com", "grace@example.com"]


@everywhere
@pytest.mark.parametrize(
    ("content_type", "content", "written", "at_sendgrid"),
    [
        ("text/calendar; method=REQUEST", b"BEGIN", "text/calendar; method=REQUEST; charset=utf-8", "method=REQUEST"),
        ("text/csv; charset=utf-8", "é".encode(), "text/csv; charset=utf-8", ""),
        ('application/pdf; name="a.pdf"', b"%PDF", "application/pdf; name=a.pdf", ""),
        ("application/pdf; name*=utf-8''%C3%A9.pdf", b"%PDF", "application/pdf; name*=utf-8''%C3%A9.pdf", ""),
        ("text/csv", "é".encode(), "text/csv; charset=utf-8", ""),
        ("text/csv", "é".encode("utf-16"), "text/csv; charset=utf-16", ""),
        ("text/csv", "é".encode("latin-1"), "text/csv", ""),
        ("Text/Plain;", b"a", "text/plain; charset=utf-8", ""),
    ],
)
async def test_content_types_keep_their_parameters(
    way: OpenWay, name: str, content_type: str, content: bytes, written: str, at_sendgrid: str
) -> None:
    attached = file(content_type=content_type, content=content)
    arrived, message = await (await way(name)).sent(attachments=[attached])
    (found,) = arrived.files
    assert found.content == content
    if name == "sendgrid":
        essence = written.partition(";")[0]
        assert found.media_type == "; ".join(filter(None, [essence, at_sendgrid]))
        lost = bool(content_type.partition(";")[2]) and not at_sendgrid
        assert changes(message) == [("email.attachments[0].content_type", "SHORTENED")] * lost
    else:
        assert found.media_type == written
        assert changes(message) == []


async def test_sendgrid_passes_over_a_text_whose_charset_it_would_drop(way: OpenWay) -> None:
    attached = file(content_type="text/csv; charset=iso-8859-1", content=b"\xe9")
    assert "charset" in await (await way("sendgrid")).passed_over(attachments=[attached])


@everywhere
async def test_an_email_may_be_only_files(way: OpenWay, name: str) -> None:
    arrived, _ = await (await way(name)).sent(text="", attachments=[file(), file(filename="b.bin", content=b"\x00")])
    assert (arrived.text, arrived.html) == ("", "")
    assert [found.content for found in arrived.files] == [b"x", b"\x00"]


@everywhere
async def test_a_file_may_be_empty(way: OpenWay, name: str) -> None:
    opened = await way(name)
    if name == "sendgrid":
        assert "empty" in await opened.passed_over(attachments=[file(content=b"")])
        return
    arrived, _ = await opened.sent(attachments=[file(content=b"")])
    assert [found.content for found in arrived.files] == [b""]


@everywhere
@pytest.mark.parametrize("value", ["Société", "Société Générale <https://example.com/a>", "日本語 " * 100, "=?x y?="])
async def test_headers_hold_any_letters(way: OpenWay, name: str, value: str) -> None:
    opened = await way(name)
    if name == "ses" and len(value.encode()) > 900:
        assert "996" in await opened.passed_over(headers={"X-Org": value})
        return
    arrived, _ = await opened.sent(headers={"X-Org": value})
    assert arrived.headers == {"X-Org": value.strip()}


@everywhere
@pytest.mark.parametrize("display_name", ["名" * 128, "👩" * 128, "x" * 128, "e\u0301" * 64])
async def test_a_long_name_fits_into_what_ses_takes(way: OpenWay, name: str, display_name: str) -> None:
    long = "a" * 60 + "@" + "b" * 60 + "." + "c" * 60 + ".example.com"
    arrived, message = await (await way(name)).sent(
        to=[address(long, display_name), address("b@example.com", "Bob")], sender=address(long, display_name)
    )
    assert [found[1] for found in arrived.to] == [long, "b@example.com"]
    if name == "ses":
        shown = arrived.to[0][0]
        assert shown.endswith("…")
        assert len(shown) > 15
        assert display_name.startswith(shown[:-1])
        assert changes(message) == [("email.to", "SHORTENED"), ("email.sender", "SHORTENED")]
    else:
        assert arrived.to[0][0] == arrived.sender[0] == display_name
        assert changes(message) == []


@everywhere
@pytest.mark.parametrize("field", ["to", "cc", "bcc", "reply_to", "sender"])
async def test_an_international_address_goes_by_smtp_alone(way: OpenWay, name: str, field: str) -> None:
    international = address("josé@bücher.example", "José")
    opened = await way(name)
    given: dict[str, Any] = {field: international if field == "sender" else [international]}
    given.setdefault("to", [address()])
    if name != "smtp":
        assert "SMTPUTF8" in await opened.passed_over(**given)
        return
    arrived, _ = await opened.sent(**given)
    everybody = [arrived.sender[1], *arrived.recipients, *(found[1] for found in arrived.reply_to)]
    assert "josé@xn--bcher-kva.example" in everybody


@everywhere
@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("a..b@docomo.ne.jp", '"a..b"@docomo.ne.jp'),
        ("a.b.@docomo.ne.jp", '"a.b."@docomo.ne.jp'),
        ('"a..b"@docomo.ne.jp', '"a..b"@docomo.ne.jp'),
        ('"a b"@example.com', '"a b"@example.com'),
    ],
)
async def test_local_parts_with_odd_dots_are_quoted(way: OpenWay, name: str, typed: str, written: str) -> None:
    opened = await way(name)
    if name == "sendgrid" or (name == "ses" and " " in written):
        assert await opened.passed_over(to=[address(typed, "Ada")])
        return
    arrived, message = await opened.sent(to=[address(typed, "Ada")])
    assert arrived.to == [("Ada", written)]
    assert arrived.recipients == list(message.recipients) == [written]
    assert changes(message) == [("email.to[0].address", "REWRITTEN")] * (typed != written)


@everywhere
@pytest.mark.parametrize(
    "typed", [" ada@example.com ", "\u200bada@example.com", "ada@example.com\ufeff", "\u00a0ada@example.com\r\n"]
)
async def test_pasted_addresses_are_trimmed(way: OpenWay, name: str, typed: str) -> None:
    arrived, message = await (await way(name)).sent(to=[address(typed)], reply_to=[address(typed)])
    assert arrived.recipients == ["ada@example.com"]
    assert arrived.reply_to == [("", "ada@example.com")]
    assert changes(message) == [("email.to[0].address", "TRIMMED"), ("email.reply_to[0].address", "TRIMMED")]


@everywhere
async def test_bounces_go_to_the_envelope_sender(way: OpenWay, name: str) -> None:
    verp = "bounce+ada=example.com@lists.example.com"
    opened = await way(name)
    if name == "sendgrid":
        assert "envelope_sender" in await opened.passed_over(envelope_sender=verp)
        return
    arrived, message = await opened.sent(envelope_sender=verp, sender=address("me@example.com"))
    assert arrived.bounces == verp
    assert (arrived.sender[1], message.sender) == ("me@example.com", "me@example.com")


@everywhere
@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (email_pb2.EMAIL_TRACKING_UNSPECIFIED, None),
        (email_pb2.EMAIL_TRACKING_OFF, False),
        (email_pb2.EMAIL_TRACKING_ON, True),
    ],
)
async def test_links_are_tracked_as_the_request_says(way: OpenWay, name: str, asked: Any, told: bool | None) -> None:
    opened = await way(name)
    if name == "smtp" and told:
        assert "tracks" in await opened.passed_over(tracking=asked)
        return
    arrived, _ = await opened.sent(tracking=asked)
    assert arrived.tracked is (None if name == "smtp" else told)


@pytest.mark.parametrize("asked", [email_pb2.EMAIL_TRACKING_UNSPECIFIED, email_pb2.EMAIL_TRACKING_ON])
@everywhere
async def test_a_secret_template_is_never_tracked(way: OpenWay, name: str, asked: Any) -> None:
    variables = {"code": "483920", "minutes": "5", "app": "Acme"}
    arrived, message = await (await way(name)).sent(
        subject="", text="", template="otp", variables=variables, tracking=asked
    )
    assert "483920" in arrived.text
    assert arrived.tracked is (None if name == "smtp" else False)
    assert changes(message) == [("email.tracking", "IGNORED")] * (asked == email_pb2.EMAIL_TRACKING_ON)


async def test_the_message_id_stands_on_one_line_whatever_the_domain(way: OpenWay) -> None:
    long = "noreply@" + ".".join(["b" * 60] * 3) + ".example.com"
    arrived, message = await (await way("smtp")).sent(sender=address(long))  # The reader refuses a folded one.
    assert arrived.message_id == message.message_id


@everywhere
async def test_pasted_texts_are_repaired_and_the_change_is_told(way: OpenWay, name: str) -> None:
    arrived, message = await (await way(name)).sent(
        subject="It\u0092s\there",
        text="It\u0092s 5\u0080\x0b",
        html="<p>\x0b\x0b</p>",
        to=[address(name="O\u0092Brien")],
        headers={"X-Org": "O\u0092Brien "},
        attachments=[file(filename="O\u0092Brien.txt")],
    )
    assert (arrived.subject, arrived.text, arrived.html) == ("It’s here", "It’s 5€", "<p></p>")
    assert arrived.to == [("O’Brien", "ada@example.com")]
    assert arrived.headers == {"X-Org": "O’Brien"}
    assert arrived.files[0].name == "O’Brien.txt"
    assert changes(message) == [
        ("email.to[0].display_name", "REPLACED"),
        ("email.subject", "REPLACED"),
        ("email.text", "REPLACED"),
        ("email.text", "DROPPED"),
        ("email.html", "DROPPED"),
        ("email.attachments[0].filename", "REPLACED"),
        ('email.headers["X-Org"]', "REPLACED"),
        ('email.headers["X-Org"]', "TRIMMED"),
    ]
    assert [a.description for a in message.adjustments][1:5] == [
        "2 characters were replaced by the characters that were meant",
        "2 characters were replaced by the characters that were meant",
        "1 control character was dropped",
        "2 control characters were dropped",
    ]


async def test_a_variable_of_a_template_is_repaired_as_well(way: OpenWay) -> None:
    variables = {"code": "483920", "minutes": "5", "app": "O\u0092Brien"}
    arrived, message = await (await way("ses")).sent(subject="", text="", template="otp", variables=variables)
    assert "O’Brien" in arrived.subject
    assert changes(message) == [('email.variables["app"]', "REPLACED")]


@pytest.mark.parametrize(
    ("field", "cure", "changed"),
    [
        ("email.text", "NUL", {"text": "a\x00b"}),
        ("email.subject", "line breaks", {"subject": "a\r\nBcc: b@example.com"}),
        ("email.subject", "NUL", {"subject": "a\x00"}),
        ("email.to[0].display_name", "line breaks", {"to": [address(name="a\nb")]}),
        ('email.headers["X-Org"]', "line breaks", {"headers": {"X-Org": "a\r\nBcc: b@example.com"}}),
        ("email.attachments[0].filename", "line breaks", {"attachments": [file(filename="a\r\nb")]}),
    ],
)
async def test_a_text_that_could_inject_a_header_is_refused_with_the_cure(
    way: OpenWay, field: str, cure: str, changed: dict[str, Any]
) -> None:
    failure = await (await way("ses")).refused(**changed)
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(failure.fields) == [field]
    assert cure in failure.fields[field]


async def test_an_email_that_one_provider_cannot_carry_goes_to_the_next(serve: Serve) -> None:
    async with peers.smtp() as (peer, port), peers.ses() as (_, ses), peers.sendgrid() as (_, grid):
        environ = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(port), "RELAYPOST_SMTP_TLS": "none"}
        chain = [
            build("ses", OVER_HTTP["ses"](ses)),
            build("sendgrid", OVER_HTTP["sendgrid"](grid)),
            build("smtp", environ),
        ]
        served = await serve(emails=chain)
        message = (await served.stub.SendEmail(email(to=[address("josé@example.com")]))).message
        for provider in chain:
            await provider.close()
    assert [a.kind for a in message.attempts] == [UNSUPPORTED, UNSUPPORTED, ACCEPTED]
    assert [arrived.recipients for arrived in peer.inbox.values()] == [["josé@example.com"]]


async def test_a_repeated_request_may_be_pasted_differently(serve: Serve) -> None:
    """Fingerprints are taken of the repaired request."""
    served = await serve()
    for typed in ("ada@example.com", " ada@example.com", "ada@example.com\u200b"):
        request = pb.SendEmailRequest(email=email(to=[address(typed)]).email, request_id="r1")
        await served.stub.SendEmail(request, metadata=(("relaypost-caller", "shop"),))
    prints = {claim.fingerprint for claim in served.emails.requests.claims}
    assert len(prints) == 1
