"""SuppressionService over a real socket, on a real PostgreSQL, and what it does to sends."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from relaypost.v1 import (
    failure_pb2,
    otp_service_pb2 as otp_pb,
    suppression_service_pb2 as pb,
    suppression_service_pb2_grpc as grpc_stubs,
)
from relaypost.v1.otp_service_pb2_grpc import OtpServiceStub

from relaypost_server.core.message import MessageState
from relaypost_server.core.suppression import SuppressionPolicy
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.otp import METHOD
from relaypost_server.flow.suppressions import Suppressions
from relaypost_server.store.database import Database
from relaypost_server.store.otp import PostgresOtps
from relaypost_server.store.suppressions import PostgresSuppressions
from relaypost_server.telemetry.metrics import Metrics
from tests.api.conftest import Serve, Served
from tests.api.status import failure_of
from tests.api.test_otp import PATIENT, caller_is
from tests.api.test_validation import address, email, sms
from tests.store.databases import opened

PHONE = "+14155550123"


@pytest.fixture
async def database(bundled_database: str, tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(bundled_database, tmp_path) as database:
        yield database


class Desk:
    """A gateway, and its suppression list."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.stub: grpc_stubs.SuppressionServiceAsyncStub = grpc_stubs.SuppressionServiceStub(served.channel)
        self.otp: Any = OtpServiceStub(served.channel)

    async def add(self, address: str, caller: str = "", **fields: Any) -> pb.AddSuppressionResponse:
        return await self.stub.AddSuppression(
            pb.AddSuppressionRequest(address=address, **fields), metadata=caller_is(caller)
        )

    async def remove(self, address: str, caller: str = "", **fields: Any) -> bool:
        request = pb.RemoveSuppressionRequest(address=address, **fields)
        return (await self.stub.RemoveSuppression(request, metadata=caller_is(caller))).removed

    async def list(self, caller: str = "", **fields: Any) -> pb.ListSuppressionsResponse:
        return await self.stub.ListSuppressions(pb.ListSuppressionsRequest(**fields), metadata=caller_is(caller))

    async def take(self, *entries: pb.Suppression, caller: str = "") -> pb.ImportSuppressionsResponse:
        request = pb.ImportSuppressionsRequest(suppressions=entries)
        return await self.stub.ImportSuppressions(request, metadata=caller_is(caller))

    async def send(self, *to: str, caller: str = "") -> Any:
        request = email(to=[address(a) for a in to])
        return (await self.served.stub.SendEmail(request, metadata=caller_is(caller))).message

    @property
    def asked(self) -> int:
        """How often any provider was."""
        return sum(len(p.received) for rig in (self.served.emails, self.served.texts) for p in rig.providers)


@pytest.fixture
async def desk(serve: Serve, database: Database) -> Desk:
    suppressions = Suppressions(
        PostgresSuppressions(database),
        refresh_seconds=3600.0,
        policy=SuppressionPolicy(),
        metrics=Metrics(),
        clock=Clock(),
    )
    store = PostgresOtps(database, PATIENT, method=METHOD)
    return Desk(await serve(otp_store=store, otp_policy=PATIENT, suppressions=suppressions))


def stamp(moment: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(moment)
    return made


async def test_an_address_gets_nothing_until_it_is_taken_off(desk: Desk) -> None:
    answer = await desk.add("Ada@Example.com", note="asked by phone")
    assert answer.changed
    assert (answer.suppression.address, answer.suppression.note) == ("ada@example.com", "asked by phone")
    assert answer.suppression.reason == pb.SUPPRESSION_REASON_MANUAL
    failure = await failure_of(desk.send("ADA@example.com"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SUPPRESSED")
    assert failure.text == "every recipient is on the suppression list; nothing was sent"
    assert "example.com" not in failure.text
    [detail] = failure.details(failure_pb2.SendFailure)
    [attempt] = detail.attempts
    assert (attempt.provider, attempt.provider_code) == ("suppression_list", "SUPPRESSED")
    assert [r.address.lower() for r in attempt.refused_recipients] == ["a***@example.com"]
    assert "ada@" not in repr(detail).lower()
    assert (desk.asked, desk.served.emails.log.records[0].state) == (0, MessageState.REJECTED)
    assert desk.served.emails.log.records[0].id == detail.message_id
    assert await desk.remove("ada@EXAMPLE.com")
    assert not await desk.remove("ada@example.com")
    await desk.send("ada@example.com")
    assert desk.asked == 1


async def test_text_messages_and_codes_are_kept_back_as_well(desk: Desk) -> None:
    await desk.add(PHONE, reason=pb.SUPPRESSION_REASON_UNSUBSCRIBED)
    assert (await failure_of(desk.served.stub.SendSms(sms()))).reason == "SUPPRESSED"
    code = otp_pb.SendOtpRequest(phone=otp_pb.PhoneNumber(number=PHONE), purpose="sign_in")
    assert (await failure_of(desk.otp.SendOtp(code))).reason == "SUPPRESSED"
    assert desk.asked == 0


async def test_some_of_several_are_told_as_refused(desk: Desk) -> None:
    await desk.add("b@example.com")
    message = await desk.send("ada@example.com", "b@example.com")
    assert message.recipients == ["ada@example.com", "b@example.com"]
    [refused] = message.attempts[0].refused_recipients
    assert (refused.address, refused.provider_code, refused.temporary) == ("b@example.com", "SUPPRESSED", False)
    assert desk.served.emails.providers[0].received[0].content.recipients == ("ada@example.com",)


async def test_a_callers_list_is_its_own(desk: Desk) -> None:
    await desk.add("ada@example.com", caller="signup")
    await desk.add("b@example.com", caller="signup", all_callers=True)
    assert (await failure_of(desk.send("ada@example.com", caller="signup"))).reason == "SUPPRESSED"
    for other in ("", "billing"):
        assert (await desk.send("ada@example.com", caller=other)).provider == "a"
        assert (await failure_of(desk.send("b@example.com", caller=other))).reason == "SUPPRESSED"
    assert [s.address for s in (await desk.list("billing")).suppressions] == ["b@example.com"]
    assert len((await desk.list("signup")).suppressions) == 2
    assert not await desk.remove("ada@example.com", caller="billing")
    assert await desk.remove("b@example.com", caller="billing", all_callers=True)


async def test_the_list_is_filtered_and_paged(desk: Desk) -> None:
    entries = [
        pb.Suppression(
            address=f"{n:03}@example.com",
            reason=pb.SUPPRESSION_REASON_BOUNCED if n % 2 else pb.SUPPRESSION_REASON_COMPLAINED,
            source=pb.SUPPRESSION_SOURCE_EVENT,
            provider="ses" if n % 3 else "sendgrid",
        )
        for n in range(60)
    ]
    assert (await desk.take(*entries)).changed == 60
    found, token = [], ""
    while True:
        page = await desk.list(page_size=7, page_token=token, reason=pb.SUPPRESSION_REASON_BOUNCED, provider="ses")
        found += [s.address for s in page.suppressions]
        token = page.next_page_token
        if not token:
            break
    assert found == [f"{n:03}@example.com" for n in range(60) if n % 2 and n % 3]
    assert len((await desk.list()).suppressions) == 50
    assert [s.address for s in (await desk.list(address="007@EXAMPLE.com")).suppressions] == ["007@example.com"]
    assert not (await desk.list(source=pb.SUPPRESSION_SOURCE_MANUAL)).suppressions


async def test_an_import_takes_what_is_good_and_tells_what_is_not(desk: Desk) -> None:
    now = datetime.now(UTC)
    whole = pb.Suppression(
        address="ada@example.com",
        reason=pb.SUPPRESSION_REASON_COMPLAINED,
        source=pb.SUPPRESSION_SOURCE_EVENT,
        provider="ses",
        message_id="01981f00-0000-7000-8000-000000000001",
        create_time=stamp(now - timedelta(days=9)),
        expire_time=stamp(now + timedelta(days=9)),
        note="é, from the old gateway",
        all_callers=True,
    )
    entries = [
        whole,
        pb.Suppression(address="nobody"),
        pb.Suppression(address=PHONE),
        pb.Suppression(address="b@example.com", expire_time=stamp(now - timedelta(seconds=1))),
        pb.Suppression(address="c@example.com", note="two\nlines"),
        pb.Suppression(address="d@example.com", message_id="7"),
        pb.Suppression(address="e@example.com", reason=9),  # type: ignore[arg-type]
    ]
    answer = await desk.take(*entries)
    assert (answer.changed, answer.unchanged) == (2, 0)
    assert [(p.index, p.field) for p in answer.problems] == [
        (1, "address"),
        (3, "expire_time"),
        (4, "note"),
        (5, "message_id"),
        (6, "reason"),
    ]
    assert not any("nobody" in p.description for p in answer.problems)
    again = await desk.take(*entries)
    assert (again.changed, again.unchanged, len(again.problems)) == (0, 2, 5)
    assert [s for s in (await desk.list()).suppressions if "@" in s.address] == [whole]


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ({"address": ""}, "address"),
        ({"address": "ada"}, "address"),
        ({"address": "ada@example.com\r\nbcc: b@example.com"}, "address"),
        ({"address": "ada\0@example.com"}, "address"),
        ({"address": "4155550123"}, "address"),
        ({"address": "ada@example.com", "note": "x" * 201}, "note"),
        ({"address": "ada@example.com", "note": "\0"}, "note"),
        ({"address": "ada@example.com", "reason": 77}, "reason"),
        ({"address": "ada@example.com", "expire_time": Timestamp(seconds=1)}, "expire_time"),
        ({"address": "ada@example.com", "expire_time": Timestamp(seconds=2**62)}, "expire_time"),
    ],
    ids=str,
)
async def test_a_bad_field_is_named(desk: Desk, fields: dict[str, Any], bad: str) -> None:
    failure = await failure_of(desk.add(**fields))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert list(failure.fields) == [bad]


@pytest.mark.parametrize(
    ("fields", "bad"),
    [
        ({"page_size": 501}, "page_size"),
        ({"page_size": -1}, "page_size"),
        ({"page_token": "é"}, "page_token"),
        ({"page_token": "WyJhIiwgMV0"}, "page_token"),
        ({"page_token": "WyJhIiwgIlx1MDAwMCJd"}, "page_token"),
        ({"page_token": "x"}, "page_token"),
        ({"address": "ada"}, "address"),
        ({"source": 9}, "source"),
    ],
    ids=str,
)
async def test_a_bad_filter_is_named(desk: Desk, fields: dict[str, Any], bad: str) -> None:
    assert list((await failure_of(desk.list(**fields))).fields) == [bad]


async def test_an_import_has_a_bound(desk: Desk) -> None:
    assert "suppressions" in (await failure_of(desk.take())).fields
    entries = [pb.Suppression(address=f"{n}@example.com") for n in range(501)]
    assert "suppressions" in (await failure_of(desk.take(*entries))).fields
    full = [
        pb.Suppression(
            address=f"{n}@example.com",
            reason=pb.SUPPRESSION_REASON_BOUNCED,
            source=pb.SUPPRESSION_SOURCE_EVENT,
            provider="sendgrid",
            message_id="01981f00-0000-7000-8000-000000000001",
            create_time=Timestamp(seconds=1_782_907_200, nanos=1),
            expire_time=Timestamp(seconds=4_102_444_800, nanos=1),
            note="n" * 200,
            all_callers=True,
        )
        for n in range(500)
    ]
    assert (await desk.take(*full)).changed == 500


async def test_a_caller_with_no_proper_name_is_told_so(desk: Desk) -> None:
    """ "*" stands for all callers: nobody may have that name."""
    for call in (desk.add("ada@example.com", caller="*"), desk.send("ada@example.com", caller="*")):
        assert list((await failure_of(call)).fields) == ["metadata relaypost-caller"]


async def test_without_its_database_the_list_cannot_be_edited_and_sends_go_on(serve: Serve) -> None:
    desk = Desk(await serve())
    for call in (desk.add("ada@example.com"), desk.remove("ada@example.com"), desk.list()):
        failure = await failure_of(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "MESSAGE_LOG_UNAVAILABLE")
    assert (await desk.send("ada@example.com")).provider == "a"
