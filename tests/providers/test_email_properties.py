"""Emails of pasted, mixed, over-long and old-fashioned parts: refused by name, or what was meant arrives.

What each provider is given is read by an independent reader, the request of SES also by AWS's own model.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import botocore.session
import orjson
import pytest
from botocore.validate import ParamValidator
from hypothesis import given, settings, strategies as st
from relaypost.v1 import email_pb2, messaging_service_pb2 as pb

from relaypost_server.api.emails import EmailReader
from relaypost_server.api.violations import InvalidRequestError, Violations
from relaypost_server.core.message import Email, Message
from relaypost_server.providers import sendgrid_request, ses_request
from relaypost_server.providers._mime import write_mime
from tests.core.effort import EFFORT
from tests.fakes.otp import built_in
from tests.faults.meaning import as_carried, lacking, meant
from tests.faults.received import Mail, of_sendgrid, of_ses, of_smtp
from tests.faults.test_hostile_strings import differences
from tests.messages import ID, NOW

READER = EmailReader(None, 20 * 1024 * 1024, built_in())
MODEL = botocore.session.get_session().get_service_model("sesv2").operation_model("SendEmail").input_shape

PASTED = [*"\t\x0b\x92\x80\x9d\x1b\u00a0\u200b\ufeff\u0085\x7f\u00ad"]
HARMFUL = ["\x00", "\r\n", "\u2028", "\u202e", "=?utf-8?q?a?="]
LETTERS = [*"aZ09 ,;:.@<>()[]\"'\\/?=_-+%&", "é", "ß", "名", "שלום", "👩‍👩‍👧", "e\u0301", "=?", "?="]


def text(most: int) -> st.SearchStrategy[str]:
    """A few pieces, hardly ever a harmful one, or one of them very often."""
    few = st.lists(st.sampled_from([*LETTERS, *PASTED]), max_size=12).map("".join)
    harmful = st.builds(lambda piece, rest: rest + piece + rest, st.sampled_from(HARMFUL), few)
    long = st.builds(lambda one, times: one * times, st.sampled_from(LETTERS), st.integers(1, most))
    return st.integers(0, 39).flatmap(lambda kind: harmful if kind == 39 else long if kind > 33 else few)


ODD = ["a..b", "a.b.", ".a", '"a..b"', '"a b"', "ａｄａ", "a" * 64, "a+b=c", "josé", "用户", '"a@b"', "é" * 40, "a b"]
LOCALS = st.integers(0, 9).flatmap(
    lambda kind: st.sampled_from(ODD) if kind > 7 else st.text("abZ0_+-=", min_size=1, max_size=12)
)
DOMAINS = st.sampled_from([*["example.com", "bücher.example", "DOCOMO.ne.jp", "b" * 60 + ".example.com"] * 9, "-x.org"])
PASTE = st.sampled_from(["", "", "", " ", "\u200b", "\ufeff", "\u00a0", "\r\n"])
ADDRESSES = st.builds(lambda a, local, domain, b: f"{a}{local}@{domain}{b}", PASTE, LOCALS, DOMAINS, PASTE)
MAILBOXES = st.builds(
    lambda address, name: email_pb2.EmailAddress(address=address, display_name=name), ADDRESSES, text(140)
)
TYPES = st.sampled_from(
    [
        *("", "application/pdf", "text/csv", "TEXT/HTML", "text/calendar; method=REQUEST", "text/csv; charset=utf-8"),
        *(
            "text/plain; charset=iso-8859-1",
            'application/pdf; name="a b.pdf"',
            "text/html;",
            "image/png; x",
            "a/b; c=é",
        ),
        *("multipart/mixed", "application/x-" + "y" * 60, "application/x-" + "y" * 70, "text/x; a=" + "b" * 90),
    ]
)
FILES = st.builds(
    lambda name, kind, content, cid: email_pb2.Attachment(
        filename=name, content_type=kind, content=content, content_id=cid
    ),
    text(256).filter(bool),
    TYPES,
    st.sampled_from([b"", b"a", "é".encode(), b"\xe9", b"\x00\xff", "é".encode("utf-16")]),
    st.sampled_from(["", "", "logo"]),
)
EMAILS = st.builds(
    lambda sender, to, cc, reply_to, subject, plain, html, files, headers, bounces, tracking: pb.SendEmailRequest(
        email=email_pb2.Email(
            sender=sender,
            to=to,
            cc=cc,
            reply_to=reply_to,
            subject=subject,
            text=plain,
            html=html,
            attachments=files,
            headers=headers,
            envelope_sender=bounces,
            tracking=tracking,
        )
    ),
    MAILBOXES,
    st.lists(MAILBOXES, min_size=1, max_size=2),
    st.lists(MAILBOXES, max_size=1),
    st.lists(MAILBOXES, max_size=1),
    st.one_of(st.just("Hello"), st.just("Hello"), text(1000)),
    text(100),
    text(100),
    st.lists(FILES, max_size=1),
    st.dictionaries(st.sampled_from(["X-Org", "List-Id", "X-Other"]), text(996), max_size=2),
    st.one_of(st.just(""), st.just(""), ADDRESSES),
    st.sampled_from([*[0, 1, 2] * 6, 9]),
)


def read(request: pb.SendEmailRequest) -> Message[Email] | None:
    """The message; None where it is refused, each complaint with a field of the request and a cure."""
    bad = Violations()
    content = READER.read(request.email, bad)
    try:
        bad.check()
    except InvalidRequestError as error:
        for field, complaint in error.violations:
            assert re.match(r"email\.\w+", field), field
            assert len(complaint.split()) > 1
            assert f"{field} {complaint}".isprintable()
        return None
    return Message(id=ID, content=content, create_time=NOW, adjustments=bad.adjustments)


@settings(EFFORT)
@given(EMAILS)
def test_an_email_is_refused_with_its_fields_named_or_arrives_repaired(request: pb.SendEmailRequest) -> None:
    message = read(request)
    if message is None:
        return
    mail = replace(meant(request), message_id=ID)
    for provider, arrived in given_to_providers(message, mail):
        assert differences(arrived, as_carried(provider, mail, arrived)) == {}, provider


def given_to_providers(message: Message[Email], mail: Mail) -> Iterator[tuple[str, Mail]]:
    """What each provider is given that can carry the email, read by its reader."""
    reason = ses_request.unsupported(message.content)
    assert bool(reason) == bool(lacking("ses", mail)) or "996" in reason
    if not reason:
        body = ses_request.request_body(ses_request.fitted(message)[0], "events")
        check_against_the_model(body)
        del body["ConfigurationSetName"]
        yield "ses", of_ses(orjson.dumps(body))
    reason = sendgrid_request.unsupported(message.content)
    assert bool(reason) == bool(lacking("sendgrid", mail))
    if not reason:
        yield "sendgrid", of_sendgrid(orjson.dumps(sendgrid_request.request_body(sendgrid_request.fitted(message)[0])))
    envelope_sender = message.content.envelope_sender or message.content.sender.email
    arrived = of_smtp(envelope_sender, list(message.content.recipients), write_mime(message))
    yield "smtp", arrived


def check_against_the_model(body: Any) -> None:
    """The types and bounds that AWS declares: its own validator knows no upper bounds and no patterns."""
    report = ParamValidator().validate(body, MODEL)
    assert not report.has_errors(), report.generate_report()
    _check_bounds(body, MODEL)


def _check_bounds(value: Any, shape: Any) -> None:
    if shape.type_name == "structure":
        for name, part in value.items():
            _check_bounds(part, shape.members[name])
    elif shape.type_name == "list":
        assert len(value) <= shape.metadata.get("max", len(value))
        for part in value:
            _check_bounds(part, shape.member)
    elif shape.type_name == "string":
        assert len(value) <= shape.metadata.get("max", len(value)), shape.name
        assert re.fullmatch(shape.metadata.get("pattern", "(?s:.*)"), value), shape.name
        assert value in (shape.enum or [value])


def test_the_model_would_refuse_a_wrong_body() -> None:
    """So that the test above means something."""
    wrong: Any
    for wrong in ({"Content": {"Simple": {}}}, {"Content": {"Simple": {"Subject": {"Data": 1}, "Body": {}}}}):
        with pytest.raises(AssertionError):
            check_against_the_model(wrong)
    with pytest.raises(AssertionError):
        _check_bounds({"Name": "X", "Value": "é"}, MODEL.members["Content"].members["Simple"].members["Headers"].member)
