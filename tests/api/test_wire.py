"""How many fields a request may have."""

import pytest
from relaypost.v1 import messaging_service_pb2 as pb

from relaypost_server.api.wire import SMALL, is_overfull
from tests.api.test_validation import MIB, address, email, file
from tests.faults.mutations import varint

EMPTY_TO, EMPTY_METADATA, EMAIL = b"\x12\x00", b"\x1a\x00", b"\x0a"


def overfull(data: bytes) -> bool:
    return is_overfull(data, pb.SendEmailRequest.DESCRIPTOR)


def in_email(body: bytes) -> bytes:
    return EMAIL + varint(len(body)) + body


def test_the_largest_honest_email_passes() -> None:
    files = [file(content=b"\x0a\x00" * (MIB // 2)) for _ in range(20)]
    request = email(to=[address()] * 50, text="\n" * MIB, html="\n" * MIB, attachments=files, headers={"X-A": "x"})
    assert not overfull(request.SerializeToString())


@pytest.mark.parametrize("end", [b"", b"\xff" * 20, b"\x80", b"\x0f", b"\x0a\xff\xff\xff\xff\x0f"])
@pytest.mark.parametrize("begin", [b"", b"\x0b", b"\x0c", b"\x08\x01", b"\x0d1234", b"\x0912345678"])
def test_too_many_entries_are_noticed_whatever_stands_around_them(begin: bytes, end: bytes) -> None:
    assert overfull(begin + EMPTY_METADATA * SMALL + end)
    assert overfull(in_email(begin + EMPTY_TO * SMALL + end))


def test_a_long_text_is_not_taken_for_fields() -> None:
    request = email()
    request.request_id = "x" * MIB
    assert not overfull(request.SerializeToString())


def test_what_is_short_is_not_looked_at() -> None:
    assert not overfull(EMPTY_METADATA * (SMALL // 2))
    assert len(pb.SendEmailRequest.FromString(in_email(EMPTY_TO * 1000)).email.to) == 1000


def test_a_varint_without_end_takes_no_time() -> None:
    assert not overfull(b"\x80" * 8 * MIB)
