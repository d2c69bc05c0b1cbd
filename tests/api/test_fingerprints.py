"""Fingerprints of requests that release 0.1.0 accepted: they are the same, whatever is read beside."""

from dataclasses import replace
from typing import Any

from relaypost.v1 import email_pb2

from relaypost_server.api.emails import EmailReader
from relaypost_server.api.requested import requested_email
from relaypost_server.api.violations import Violations
from relaypost_server.core.idempotency import fingerprint, fingerprint_of_0_1
from relaypost_server.core.message import Address, Email, Guarantee, Tracking
from tests.fakes.otp import built_in

READER = EmailReader(Address(email="noreply@example.com"), 10**6, built_in())
CODE = {"template": "otp", "variables": {"code": "483920", "minutes": "5", "app": "Acme"}}
ALO = Guarantee.AT_LEAST_ONCE


def packed(**changes: Any) -> email_pb2.Email:
    """An email that uses what 0.1.0 had, in spellings that it normalised."""
    address = email_pb2.EmailAddress
    return email_pb2.Email(
        to=[address(address="Ada@EXAMPLE.com", display_name="Ada, B"), address(address="g@bücher.example")],
        cc=[address(address="o'b@x.org")],
        reply_to=[address(address="h@x.org")],
        attachments=[
            email_pb2.Attachment(filename="a b.txt", content_type="TEXT/HTML", content=b"x"),
            email_pb2.Attachment(filename="ü.bin", content=b"y", content_id="c"),
        ],
        headers={"X-B": "2 =?", "X-a": "1  x"},
        tags={"a": "b"},
        **changes,
    )


def read(email: email_pb2.Email) -> Email:
    bad = Violations()
    content = READER.read(email, bad)
    bad.check()
    return content


def prints(email: email_pb2.Email) -> tuple[str, str]:
    content = read(email)
    return fingerprint(requested_email(email, content), ALO, {"k": "v"}), fingerprint_of_0_1(content, ALO, {"k": "v"})


def test_an_email_of_0_1_0_keeps_its_fingerprints() -> None:
    """The two values were calculated by the code before addresses, types and texts were read more leniently."""
    sender = email_pb2.EmailAddress(address="me@x.org", display_name="Me")
    email = packed(sender=sender, subject="Hi  ü", text="a\tb\r\n\x0cc\u2028", html="<p>\u00a0</p>")
    assert prints(email) == (
        "1ed92832ac0d66b121e2394d01dbee2b85b7b716854f3dee8e0d50757348407a",
        "afad1ce58099e28e6c0c40c9b46056fa380be44bf7d101d012fcbb6d4bc1bc14",
    )


def test_that_a_template_is_secret_makes_no_other_request() -> None:
    email = packed(**CODE)
    assert prints(email)[0] == "566c67bf85218ed0b7fed02333b21750da649b7746a92725b7d7667b97803130"
    content = read(email)
    assert content.tracking is Tracking.OFF
    before = replace(content, tracking=None)
    assert fingerprint_of_0_1(content, ALO, {}) == fingerprint_of_0_1(before, ALO, {})


def test_what_a_caller_asks_of_tracking_and_bounces_is_part_of_the_request() -> None:
    plain = packed(subject="Hi", text="Hi")
    tracked = packed(subject="Hi", text="Hi", tracking=email_pb2.EMAIL_TRACKING_OFF)
    bouncing = packed(subject="Hi", text="Hi", envelope_sender="b@example.com")
    assert len({prints(email)[0] for email in (plain, tracked, bouncing)}) == 3
    assert len({prints(packed(**CODE, tracking=asked))[0] for asked in (0, 1, 2)}) == 3


def test_two_spellings_of_a_content_type_are_one_request() -> None:
    def typed(content_type: str) -> email_pb2.Email:
        file = email_pb2.Attachment(filename="a", content=b"a", content_type=content_type)
        to = [email_pb2.EmailAddress(address="ada@example.com")]
        return email_pb2.Email(to=to, subject="Hi", attachments=[file])

    spellings = ("text/csv; charset=utf-8", 'TEXT/CSV;charset="utf-8"', "text/csv ; Charset=utf-8;")
    assert len({prints(typed(spelling))[0] for spelling in spellings}) == 1
