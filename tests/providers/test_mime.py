"""MIME: lines and words that every server takes, whatever a name holds."""

import re
from email import message_from_bytes
from email.header import decode_header, make_header

import pytest

from relaypost_server.core.message import Address, Attachment
from relaypost_server.providers._mime import write_mime
from relaypost_server.providers.ses_request import request_body
from tests import messages

LONG = ["é" * 128, "👩" * 128, "日本語" * 42, "x" * 128]
_WORD = re.compile(rb"=\?utf-8\?[bq]\?[^?]*\?=")


def lines(content: bytes) -> list[bytes]:
    return content.split(b"\r\n")


@pytest.mark.parametrize("name", [*LONG, '"a\\b"', "a, b", " a  b ", "=?utf-8?x", "a\u200db"])
def test_names_arrive_in_words_that_are_short_enough(name: str) -> None:
    message = messages.email(to=(Address(email="ada@example.com", name=name),))
    content = write_mime(message)
    assert max(map(len, _WORD.findall(content)), default=0) <= 75
    (of_ses,) = request_body(message, None)["Destination"]["ToAddresses"]
    assert max(map(len, _WORD.findall(of_ses.encode())), default=0) <= 75
    for written in (str(message_from_bytes(content)["To"]).replace("\r\n", ""), of_ses):
        shown = written.lstrip().removesuffix(" <ada@example.com>")
        if shown.startswith('"'):
            shown = re.sub(r"\\(.)", r"\1", shown[1:-1])
        assert str(make_header(decode_header(shown))) == name


@pytest.mark.parametrize("subject", ["x" * 998, "é" * 998, "x " * 498 + "x", "x" * 997])
def test_long_subjects_fit_into_lines(subject: str) -> None:
    content = write_mime(messages.email(subject=subject))
    assert max(map(len, lines(content))) <= 998
    found = str(message_from_bytes(content)["Subject"]).replace("\r\n", "").strip()
    assert str(make_header(decode_header(found))) == subject


@pytest.mark.parametrize("name", ["é" * 255, "👩" * 255, "a" * 255, 'a"; filename="b', "a b.pdf", "=?utf-8?q", "ü.pdf"])
def test_long_file_names_fit_into_lines(name: str) -> None:
    content = write_mime(messages.email(attachments=(Attachment(filename=name, content=b"x"),)))
    assert max(map(len, lines(content))) <= 998
    assert [p.get_filename() for p in message_from_bytes(content).walk() if p.get_filename()] == [name]
