"""OtpService over a real socket, on a real PostgreSQL."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from relaypost.v1 import email_pb2, message_pb2, otp_service_pb2 as pb, otp_service_pb2_grpc

from relaypost_server.core.budgets import Budget, Budgets
from relaypost_server.core.limits import Rate
from relaypost_server.core.message import Address, Channel
from relaypost_server.core.money import Money
from relaypost_server.core.otp import OtpPolicy
from relaypost_server.core.outcome import Kind
from relaypost_server.flow.otp import METHOD
from relaypost_server.store.database import Database
from relaypost_server.store.otp import PostgresOtps
from tests.api.conftest import Serve, Served
from tests.api.status import Failure, failure_of
from tests.fakes.otp import code_in, other_than
from tests.fakes.providers import FakeProvider, failing
from tests.store.databases import opened

TRIMMED = message_pb2.ADJUSTMENT_KIND_TRIMMED
NOT_VERIFIED = (grpc.StatusCode.INVALID_ARGUMENT, "OTP_NOT_VERIFIED", "the code is not right, or not valid any more")
PATIENT = OtpPolicy(cool_downs=(0.0,))
ID = "01981f00-0000-7000-8000-000000000001"


def limited(attempts: int = 5, **most: int) -> OtpPolicy:
    """Other limits than the usual ones, for any 60 seconds."""
    changed = {limit: Rate(most=number, seconds=60.0) for limit, number in most.items()}
    return OtpPolicy(attempts=attempts, cool_downs=(0.0,), rates={**OtpPolicy().rates, **changed})


@pytest.fixture
async def database(bundled_database: str, tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(bundled_database, tmp_path) as database:
        yield database


class Otp:
    """A gateway, what it was asked last, and what its providers were handed."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.stub: otp_service_pb2_grpc.OtpServiceAsyncStub = otp_service_pb2_grpc.OtpServiceStub(served.channel)

    async def send(self, caller: str = "", **fields: Any) -> pb.SendOtpResponse:
        return await self.stub.SendOtp(request(**fields), metadata=caller_is(caller))

    async def verify(self, otp_id: str, code: str, caller: str = "") -> pb.VerifyOtpResponse:
        return await self.stub.VerifyOtp(pb.VerifyOtpRequest(otp_id=otp_id, code=code), metadata=caller_is(caller))

    async def refusal(self, otp_id: str, code: str, caller: str = "") -> tuple[grpc.StatusCode, str, str]:
        failure = await failure_of(self.verify(otp_id, code, caller))
        return failure.code, failure.reason, failure.text

    @property
    def texts(self) -> list[Any]:
        return self.served.texts.providers[0].received

    @property
    def code(self) -> str:
        return code_in(self.texts[-1])


def request(**fields: Any) -> pb.SendOtpRequest:
    defaults: dict[str, Any] = {"phone": pb.PhoneNumber(number="+14155550123"), "purpose": "sign_in"}
    if "email_address" in fields:
        del defaults["phone"]
    return pb.SendOtpRequest(**defaults | fields)


def caller_is(caller: str) -> tuple[tuple[str, str], ...]:
    return (("relaypost-caller", caller),) if caller else ()


@pytest.fixture
async def start(serve: Serve, database: Database) -> Any:
    async def start(policy: OtpPolicy = PATIENT, **options: Any) -> Otp:
        store = PostgresOtps(database, policy, method=METHOD)
        return Otp(await serve(otp_store=store, otp_policy=policy, **options))

    return start


async def test_a_code_is_sent_and_verified_once(start: Any) -> None:
    otp = await start()
    sent = await otp.send()
    assert sent.message.state == message_pb2.MESSAGE_STATE_SENT
    assert 299 < sent.expire_time.seconds - sent.resend_time.seconds <= 300
    assert dict(sent.message.metadata) == {"otp_id": sent.otp_id, "purpose": "sign_in"}
    assert len(otp.code) == 6
    proven = await otp.verify(sent.otp_id, otp.code)
    assert (proven.verified, proven.purpose, proven.destination) == (True, "sign_in", "+14155550123")
    assert await otp.refusal(sent.otp_id, otp.code) == NOT_VERIFIED


async def test_a_code_by_email_has_its_length_life_language_and_words(start: Any) -> None:
    otp = await start()
    sent = await otp.send(
        email_address="ada@example.com",
        code_length=8,
        ttl=Duration(seconds=120),
        locale="de",
        variables={"app": "Loja"},
    )
    (message,) = otp.served.emails.providers[0].received
    assert len(code_in(message)) == 8
    assert "2 Minuten" in message.content.text
    assert "Loja" in message.content.subject
    assert message.content.html
    assert (await otp.verify(sent.otp_id, code_in(message))).destination == "ada@example.com"


async def test_a_caller_past_its_budget_gets_no_code(start: Any) -> None:
    otp = await start(budgets=Budgets(callers={"noisy": Budget(hard=Money(micros=0))}))
    failure = await failure_of(otp.send("noisy"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_EXHAUSTED")
    assert otp.texts == []
    await otp.send("quiet")
    assert len(otp.texts) == 1


async def test_a_failover_carries_the_same_code_and_the_code_its_validity(start: Any) -> None:
    texts = [FakeProvider("a", [failing(Kind.UNCONFIRMED)], Channel.SMS), FakeProvider("b", channel=Channel.SMS)]
    otp = await start(texts=texts)
    sent = await otp.send()
    assert sent.message.possible_duplicate
    first, second = texts[0].received[0].content, texts[1].received[0].content
    assert first.text == second.text
    assert 299 < first.validity <= 300


def typed_forms(code: str) -> list[str]:
    """As people type and paste a code of 6 digits."""
    arabic = code.translate({ord("0") + n: 0x0660 + n for n in range(10)})
    full_width = code.translate({ord("0") + n: 0xFF10 + n for n in range(10)})
    halves = code[:3], code[3:]
    return [
        *(mark.join(halves) for mark in " -.\u2011\u00a0\u200b"),
        f"{code} ",
        f"{' '.join(halves)}-\n",
        arabic,
        full_width,
    ]


@pytest.mark.parametrize("form", range(10))
async def test_a_code_is_right_in_every_form_in_which_it_is_typed(start: Any, form: int) -> None:
    otp = await start()
    sent = await otp.send()
    assert (await otp.verify(sent.otp_id, typed_forms(otp.code)[form])).verified


async def test_a_text_that_cannot_be_a_code_costs_no_attempt(start: Any) -> None:
    otp = await start()
    sent = await otp.send()
    code = otp.code
    for typed in ("x", " ", code[:-1], f"{code}0", f"+{code}", f"{code}!", "1" * 5000, "¹²³⁴⁵⁶"):
        assert await otp.refusal(sent.otp_id, typed) == NOT_VERIFIED, typed
    for _ in range(4):
        assert await otp.refusal(sent.otp_id, other_than(code)) == NOT_VERIFIED
    assert (await otp.verify(sent.otp_id, f"{code[:3]} {code[3:]}")).verified


async def test_a_thousand_guesses_in_all_forms_are_five(start: Any) -> None:
    otp = await start()
    sent = await otp.send()
    wrong = [f"{n:06}" for n in range(1000) if f"{n:06}" != otp.code][:995]
    typed = [typed_forms(guess)[n % 10] for n, guess in enumerate(wrong)]
    answers = Counter([reason for _, reason, _ in [await otp.refusal(sent.otp_id, guess) for guess in typed[:5]]])
    rest = [*typed_forms(otp.code), *typed[5:]]
    for first in range(0, len(rest), 100):  # More at once are turned away.
        refused = await asyncio.gather(*(otp.refusal(sent.otp_id, guess) for guess in rest[first : first + 100]))
        answers.update(reason for _, reason, _ in refused)
    assert answers == {"OTP_NOT_VERIFIED": 5, "OTP_ATTEMPTS_USED_UP": 1000}


async def test_every_wrong_code_gets_the_same_answer(start: Any) -> None:
    otp = await start(limited(failures=0, attempts=50))
    sent = await otp.send("signup")
    code = otp.code
    typed = [other_than(code), *typed_forms(other_than(code)), f"+{code}", "x", code[:-1], f"{code}0", "1" * 5000]
    for wrong in typed:
        assert await otp.refusal(sent.otp_id, wrong, "signup") == NOT_VERIFIED, wrong
    for other in ("", "billing"):
        assert await otp.refusal(sent.otp_id, code, other) == NOT_VERIFIED
    for unknown in (ID, "no id", sent.otp_id[:-1]):
        assert await otp.refusal(unknown, code, "signup") == NOT_VERIFIED
    assert (await otp.verify(sent.otp_id, code, "signup")).verified
    assert await otp.refusal(sent.otp_id, code, "signup") == NOT_VERIFIED
    cancelled = await otp.send("signup")
    await otp.stub.CancelOtp(pb.CancelOtpRequest(otp_id=cancelled.otp_id), metadata=caller_is("signup"))
    assert await otp.refusal(cancelled.otp_id, otp.code, "signup") == NOT_VERIFIED


async def test_an_expired_code_is_answered_like_a_wrong_one(start: Any, database: Database) -> None:
    otp = await start()
    sent = await otp.send()
    await age(database, 301)
    assert await otp.refusal(sent.otp_id, otp.code) == NOT_VERIFIED


async def test_the_sixth_attempt_is_not_looked_at(start: Any) -> None:
    otp = await start()
    sent = await otp.send()
    for _ in range(5):
        assert await otp.refusal(sent.otp_id, other_than(otp.code)) == NOT_VERIFIED
    code, reason, _ = await otp.refusal(sent.otp_id, otp.code)
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OTP_ATTEMPTS_USED_UP")


async def test_a_repeated_request_sends_nothing_again(start: Any, serve: Serve, database: Database) -> None:
    otp = await start()
    first, second = await otp.send(request_id="r-1"), await otp.send(request_id="r-1")
    # The fake log of requests grants every claim: the code is what has to be the same.
    assert (second.otp_id, second.expire_time) == (first.otp_id, first.expire_time)
    assert {code_in(m) for m in otp.texts} == {otp.code}
    assert len({c.key for c in otp.served.texts.requests.claims}) == 1
    failure = await failure_of(otp.send(request_id="r-1", purpose="other"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    await age(database, 301)
    failure = await failure_of(otp.send(request_id="r-1"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "OTP_OVER")


async def test_the_claim_of_a_message_knows_nothing_of_its_code(start: Any) -> None:
    otp = await start()
    await otp.send(request_id="r-1")
    await otp.send(request_id="r-2")
    first, second = otp.served.texts.requests.claims
    assert first.fingerprint != second.fingerprint
    await otp.send(request_id="r-1")
    assert otp.served.texts.requests.claims[-1].fingerprint == first.fingerprint


async def test_a_resend_waits_and_carries_the_same_code(start: Any, database: Database) -> None:
    otp = await start(OtpPolicy())
    sent = await otp.send()
    code = otp.code
    again = pb.ResendOtpRequest(otp_id=sent.otp_id)
    failure = await failure_of(otp.stub.ResendOtp(again))
    assert limits(failure) == ["limit:resend"]
    assert 28 < (failure.retry_seconds or 0) <= 30
    await age(database, 31)
    resent = await otp.stub.ResendOtp(again)
    assert (resent.otp_id, otp.code, len(otp.texts)) == (sent.otp_id, code, 2)
    assert 260 < otp.texts[-1].content.validity < 270
    assert resent.resend_time.seconds - sent.resend_time.seconds + 31 - 1 > 59
    await age(database, 31)
    assert 28 < ((await failure_of(otp.stub.ResendOtp(again))).retry_seconds or 0) <= 30
    assert (await otp.verify(sent.otp_id, code)).verified
    failure = await failure_of(otp.stub.ResendOtp(again))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "OTP_OVER")


async def test_every_message_of_a_code_comes_from_the_sender_that_its_caller_named(start: Any) -> None:
    otp = await start()
    by_sms = await otp.send(phone=pb.PhoneNumber(number="+4915112345678"), sender_id=" My Shop ")
    assert [(a.field, a.kind) for a in by_sms.message.adjustments] == [("sender_id", TRIMMED)]
    await otp.stub.ResendOtp(pb.ResendOtpRequest(otp_id=by_sms.otp_id))
    assert [m.content.sender_id for m in otp.texts] == ["My Shop"] * 2
    sender = email_pb2.EmailAddress(address="codes@shop.example", display_name="My Shop")
    by_email = await otp.send(email_address="ada@example.com", sender=sender)
    await otp.stub.ResendOtp(pb.ResendOtpRequest(otp_id=by_email.otp_id))
    await otp.send(email_address="ada@example.com")
    named = Address(email="codes@shop.example", name="My Shop")
    received = otp.served.emails.providers[0].received
    assert [m.content.sender for m in received] == [named, named, Address(email="noreply@example.com")]


async def test_another_sender_is_another_request(start: Any) -> None:
    otp = await start()
    await otp.send(request_id="r-1", sender_id="Shop")
    await otp.send(request_id="r-1", sender_id="Shop")
    failure = await failure_of(otp.send(request_id="r-1", sender_id="Other"))
    assert failure.reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"sender_id": "12345"}, "sender_id"),
        ({"sender_id": "much too long"}, "sender_id"),
        ({"sender": email_pb2.EmailAddress(address="a@example.com")}, "sender"),
        ({"email_address": "ada@example.com", "sender_id": "Shop"}, "sender_id"),
        ({"email_address": "ada@example.com", "sender": email_pb2.EmailAddress(address="?")}, "sender.address"),
        ({"email_address": "ada@example.com", "sender": email_pb2.EmailAddress()}, "sender.address"),
    ],
)
async def test_an_invalid_sender_is_refused(start: Any, fields: dict[str, Any], named: str) -> None:
    otp = await start()
    assert set((await failure_of(otp.send(**fields))).fields) == {named}


@pytest.mark.parametrize(
    ("locale", "text"),
    [("de;q=.8,-BE;q=0.43", "Ihr"), ("de_AT.UTF-8", "Ihr"), ("x-default", "is your"), ("?," * 200, "is your")],
)
async def test_an_unreadable_locale_is_ignored_and_the_code_is_sent(start: Any, locale: str, text: str) -> None:
    otp = await start()
    sent = await otp.send(locale=locale)
    assert text in otp.texts[-1].content.text
    told = [(a.field, a.kind) for a in sent.message.adjustments]
    assert told == ([] if locale == "de_AT.UTF-8" else [("locale", message_pb2.ADJUSTMENT_KIND_IGNORED)])


async def test_a_code_goes_to_a_phone_however_it_was_typed(start: Any) -> None:
    otp = await start()
    sent = await otp.send(phone=pb.PhoneNumber(number="\u202a+52 1 55\u20111234\u20115678\u202c"))
    assert otp.texts[-1].content.to == "+525512345678"
    told = [(a.field, a.kind) for a in sent.message.adjustments]
    assert told == [("phone.number", TRIMMED), ("phone.number", message_pb2.ADJUSTMENT_KIND_REWRITTEN)]


@pytest.mark.parametrize(
    ("typed", "address", "kinds"),
    [
        (" ada@example.com ", "ada@example.com", [TRIMMED]),
        ("a..b@docomo.ne.jp", '"a..b"@docomo.ne.jp', [message_pb2.ADJUSTMENT_KIND_REWRITTEN]),
    ],
)
async def test_a_code_goes_to_a_pasted_email_address_and_the_change_is_told(
    start: Any, typed: str, address: str, kinds: list[int]
) -> None:
    otp = await start()
    sent = await otp.send(email_address=typed)
    assert list(sent.message.recipients) == [address]
    assert [(a.field, a.kind) for a in sent.message.adjustments] == [("email_address", kind) for kind in kinds]


async def test_pasted_variables_of_a_code_are_repaired_and_the_change_is_told(start: Any) -> None:
    otp = await start()
    sent = await otp.send(variables={"app": "O\x92Brien"})
    assert "O’Brien" in otp.texts[-1].content.text
    told = [(a.field, a.kind) for a in sent.message.adjustments]
    assert told == [('variables["app"]', message_pb2.ADJUSTMENT_KIND_REPLACED)]


async def test_a_resend_may_rotate_the_code(start: Any) -> None:
    otp = await start(OtpPolicy(cool_downs=(0.0,), rotate=True))
    sent = await otp.send()
    old = otp.code
    await otp.refusal(sent.otp_id, other_than(old))
    await otp.stub.ResendOtp(pb.ResendOtpRequest(otp_id=sent.otp_id))
    if otp.code != old:
        assert await otp.refusal(sent.otp_id, old) == NOT_VERIFIED
    assert (await otp.verify(sent.otp_id, otp.code)).verified


async def test_another_caller_can_neither_resend_nor_cancel(start: Any) -> None:
    otp = await start()
    sent = await otp.send("signup")
    for caller in ("", "billing"):
        failure = await failure_of(
            otp.stub.ResendOtp(pb.ResendOtpRequest(otp_id=sent.otp_id), metadata=caller_is(caller))
        )
        assert failure.reason == "OTP_OVER"
        await otp.stub.CancelOtp(pb.CancelOtpRequest(otp_id=sent.otp_id), metadata=caller_is(caller))
    assert (await otp.verify(sent.otp_id, otp.code, "signup")).verified


async def test_a_destination_gets_five_codes_in_ten_minutes(start: Any) -> None:
    otp = await start()
    for _ in range(5):
        await otp.send()
    failure = await failure_of(otp.send())
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OTP_LIMIT_REACHED")
    assert limits(failure) == ["limit:destination"]
    assert 595 < (failure.retry_seconds or 0) <= 600
    assert "4155550123" not in failure.text
    assert len(otp.texts) == 5


async def test_a_person_is_limited_whatever_the_spelling_of_the_address(start: Any) -> None:
    otp = await start()
    for n in range(5):
        await otp.send(email_address=f"{'Ada' if n % 2 else 'ada'}+{n}@example.com")
    assert limits(await failure_of(otp.send(email_address="ADA@example.com"))) == ["limit:destination"]


async def test_clients_are_limited_by_network(start: Any) -> None:
    otp = await start(limited(client=1))
    await otp.send(client_address="2001:db8::1")
    failure = await failure_of(otp.send(client_address="2001:db8::ffff"))
    assert limits(failure) == ["limit:client"]
    await otp.send(client_address="2001:db8:1::1")
    await otp.send(client_address="192.0.2.1")
    assert limits(await failure_of(otp.send(client_address="::ffff:192.0.2.1"))) == ["limit:client"]


async def test_countries_may_be_chosen(start: Any) -> None:
    otp = await start(OtpPolicy(countries=frozenset({"DE"})))
    failure = await failure_of(otp.send())
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "OTP_COUNTRY_NOT_ALLOWED")
    await otp.send(phone=pb.PhoneNumber(number="0151 12345678", region_code="DE"))
    await otp.send(email_address="ada@example.com")


async def test_pumping_is_stopped_at_twenty_for_each_prefix(start: Any) -> None:
    otp = await start()
    answers = await asyncio.gather(
        *(otp.send(phone=pb.PhoneNumber(number=f"+1415555{n:04}")) for n in range(100, 200)), return_exceptions=True
    )
    refused = [Failure(a) for a in answers if isinstance(a, grpc.RpcError)]
    assert len(refused) == 80
    assert {tuple(limits(f)) for f in refused} == {("limit:prefix",)}
    assert len(otp.texts) == 20


async def test_a_prefix_whose_codes_nobody_types_is_blocked(start: Any, database: Database) -> None:
    otp = await start(limited(prefix=0))
    for n in range(50):
        sent = await otp.send(phone=pb.PhoneNumber(number=f"+1415555{n:04}"))
        if n < 4:
            await otp.verify(sent.otp_id, otp.code)
    await otp.send(phone=pb.PhoneNumber(number="+14155559998"))  # The others may still be typed.
    await age(database, 301)
    failure = await failure_of(otp.send(phone=pb.PhoneNumber(number="+14155559999")))
    assert limits(failure) == ["limit:conversion"]
    await otp.send(phone=pb.PhoneNumber(number="+14155609999"))


async def test_without_the_database_nothing_is_sent(serve: Serve) -> None:
    otp = Otp(await serve())
    calls = [
        otp.send(),
        otp.verify(ID, "123456"),
        otp.stub.ResendOtp(pb.ResendOtpRequest(otp_id=ID)),
        otp.stub.CancelOtp(pb.CancelOtpRequest(otp_id=ID)),
    ]
    for call in calls:
        failure = await failure_of(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "OTP_UNAVAILABLE")
        assert failure.retry_seconds == 5.0
    assert otp.texts == []


async def test_every_field_that_is_not_valid_is_named(start: Any) -> None:
    otp = await start()
    failure = await failure_of(
        otp.stub.SendOtp(pb.SendOtpRequest(code_length=3, ttl=Duration(seconds=5), client_address="x"))
    )
    assert set(failure.fields) == {"destination", "purpose", "code_length", "ttl", "client_address"}
    failure = await failure_of(otp.send(variables={"code": "123456", "minutes": "1"}))
    assert set(failure.fields) == {'variables["code"]', 'variables["minutes"]'}
    failure = await failure_of(otp.send(template="no", locale="en"))
    assert set(failure.fields) == {"template"}
    failure = await failure_of(otp.send(phone=pb.PhoneNumber(number="1", region_code="XX")))
    assert set(failure.fields) == {"phone.region_code"}
    failure = await failure_of(otp.stub.VerifyOtp(pb.VerifyOtpRequest()))
    assert set(failure.fields) == {"otp_id", "code"}
    assert otp.texts == []


def limits(failure: Failure) -> list[str]:
    (quota,) = failure.details(error_details_pb2.QuotaFailure)
    return [v.subject for v in quota.violations]


async def age(database: Database, seconds: int) -> None:
    """As if so much time had passed."""
    async with database.transaction() as connection:
        await connection.execute(
            """
            UPDATE relaypost.otps SET
                create_time = create_time - make_interval(secs => $1),
                last_send_time = last_send_time - make_interval(secs => $1),
                expire_time = expire_time - make_interval(secs => $1)
            """,
            seconds,
        )
