"""Codes on a real PostgreSQL, as several gateways see them."""

import asyncio
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from relaypost_server.core.idempotency import Claim, RequestKey
from relaypost_server.core.limits import Charge, LimitReachedError, Rate, Refusal
from relaypost_server.core.message import Channel, MessageState
from relaypost_server.core.otp import (
    Guess,
    Otp,
    OtpAttemptsUsedUpError,
    OtpNotVerifiedError,
    OtpOverError,
    OtpPolicy,
    OtpRequest,
    OtpSpent,
)
from relaypost_server.core.otp_codes import Bound, Peppers
from relaypost_server.core.outcome import Kind
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.flow.otp import METHOD, Otps
from relaypost_server.flow.otp_upkeep import OtpUpkeep
from relaypost_server.store.database import Database
from relaypost_server.store.otp import PostgresOtps
from relaypost_server.store.requests import PostgresRequests
from relaypost_server.telemetry.metrics import Metrics
from tests.databases import over_tcp, socket_of
from tests.fakes.otp import PEPPER, built_in, code_in, other_than, otps
from tests.fakes.providers import ACCEPTED, FakeProvider, Rig, failing
from tests.fakes.proxy import proxy
from tests.store.databases import opened
from tests.store.records import record

CODE = "048271"
PEPPERS = Peppers(PEPPER)
POLICY = OtpPolicy(cool_downs=(0.0,))


@pytest.fixture
async def databases(bundled_database: str, tmp_path: Path) -> AsyncIterator[list[Database]]:
    """One for each of three gateways."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(opened(bundled_database, tmp_path / str(n))) for n in range(3)]


@pytest.fixture
def stores(databases: list[Database]) -> list[PostgresOtps]:
    return [PostgresOtps(database, POLICY, method=METHOD) for database in databases]


def request(**changes: Any) -> OtpRequest:
    fields: dict[str, Any] = {
        "caller": "signup",
        "channel": Channel.SMS,
        "destination": "+14155550123",
        "country": "US",
        "purpose": "sign_in",
        "template": "otp",
    }
    return OtpRequest(**fields | changes)


async def create(
    store: PostgresOtps, *, charged: tuple[Charge, ...] = (), code: str = CODE, **changes: Any
) -> Otp | None:
    otp_id, wanted = str(uuid.uuid4()), request(**changes)
    bound = Bound(otp_id=otp_id, purpose=wanted.purpose, destination=wanted.destination)
    return await store.create(otp_id, wanted, PEPPERS.store(code, bound), charged=charged, policy=POLICY)


async def created(store: PostgresOtps, **options: Any) -> Otp:
    otp = await create(store, **options)
    assert otp is not None
    return otp


async def execute(database: Database, statement: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(statement)


def flow(store: PostgresOtps) -> Otps:
    texts = Rig([FakeProvider("t", channel=Channel.SMS)], Channel.SMS)
    return otps(store, Rig([FakeProvider("a")]), texts, built_in(), POLICY)


async def test_a_thousand_guesses_at_once_over_three_gateways_are_five(stores: list[PostgresOtps]) -> None:
    otp = await created(stores[0])
    gateways = [flow(store) for store in stores]
    typed = [f"{number:06}" for number in range(100_000, 101_000)]
    typed[5] = CODE

    async def guess(number: int) -> str:
        try:
            await gateways[number % 3].verify(otp.id, typed[number], "signup")
        except (OtpNotVerifiedError, OtpAttemptsUsedUpError) as error:
            return type(error).__name__
        return "verified"

    # The right one comes sixth to its gateway's queue: the first five attempts go to the others.
    first = [await guess(number) for number in range(5)]
    rest = await asyncio.gather(*(guess(number) for number in range(5, 1000)))
    counted = Counter([*first, *rest])
    assert counted == {"OtpNotVerifiedError": 5, "OtpAttemptsUsedUpError": 995}


async def test_of_guesses_that_all_come_at_once_five_are_compared(
    stores: list[PostgresOtps], databases: list[Database]
) -> None:
    otp = await created(stores[0])
    answers = await asyncio.gather(*(stores[n % 3].guess(otp.id, "signup", 6) for n in range(1000)))
    assert Counter(type(a) for a in answers) == {Guess: 5, OtpSpent: 995}
    async with databases[0].transaction() as connection:
        assert await connection.fetchval("SELECT attempts FROM relaypost.otps") == 5


async def test_a_right_code_that_comes_many_times_at_once_is_used_once(stores: list[PostgresOtps]) -> None:
    otp = await created(stores[0])
    gateways = [flow(store) for store in stores]
    answers = await asyncio.gather(
        *(gateways[n % 3].verify(otp.id, CODE, "signup") for n in range(30)), return_exceptions=True
    )
    assert sum(isinstance(a, Guess) for a in answers) == 1


async def test_a_destination_has_twenty_failures_whatever_the_number_of_codes(stores: list[PostgresOtps]) -> None:
    codes = [await created(stores[0]) for _ in range(8)]
    answers = await asyncio.gather(*(stores[n % 3].guess(otp.id, "signup", 6) for otp in codes for n in range(5)))
    assert sum(isinstance(a, Guess) for a in answers) == 20
    elsewhere = await created(stores[0], destination="+14155550199")
    assert isinstance(await stores[1].guess(elsewhere.id, "signup", 6), Guess)


async def test_a_guess_of_another_length_takes_no_attempt(
    stores: list[PostgresOtps], databases: list[Database]
) -> None:
    otp = await created(stores[0])
    lengths = [0, *(n for n in range(4, 11) if n != len(CODE))]
    answers = await asyncio.gather(*(stores[n % 3].guess(otp.id, "signup", lengths[n % 7]) for n in range(300)))
    assert set(answers) == {None}
    async with databases[0].transaction() as connection:
        assert await connection.fetchval("SELECT attempts FROM relaypost.otps") == 0
        assert await connection.fetchval("SELECT count(*) FROM relaypost.otp_limits WHERE name = 'failures'") == 0
    assert isinstance(await stores[0].guess(otp.id, "signup", 6), Guess)


async def test_guesses_of_every_length_at_once_are_each_answered(stores: list[PostgresOtps]) -> None:
    otp = await created(stores[0])
    lengths = [n % 11 for n in range(1100)]
    answers = await asyncio.gather(*(stores[n % 3].guess(otp.id, "signup", length) for n, length in enumerate(lengths)))
    found = Counter((length == len(CODE), type(answer)) for length, answer in zip(lengths, answers, strict=True))
    assert found[True, Guess] == 5
    assert found[True, OtpSpent] == 95
    assert set(found) == {(True, Guess), (True, OtpSpent), (False, OtpSpent), (False, type(None))}


async def test_past_its_limit_of_failures_a_destination_is_refused_whatever_was_typed(
    stores: list[PostgresOtps],
) -> None:
    codes = [await created(stores[0]) for _ in range(5)]
    for otp in codes[:4]:
        for _ in range(5):
            await stores[0].guess(otp.id, "signup", 6)
    refused = [await stores[0].guess(codes[4].id, "signup", length) for length in (6, 0, 7)]
    assert [type(answer) for answer in refused] == [Refusal] * 3
    assert all(86_000 < answer.retry_after <= 86_400 for answer in refused if isinstance(answer, Refusal))


async def test_a_success_is_no_failure(stores: list[PostgresOtps]) -> None:
    gateway = flow(stores[0])
    for _ in range(25):
        otp = await created(stores[0])
        await gateway.verify(otp.id, CODE, "signup")


async def test_many_codes_are_checked_in_one_go(stores: list[PostgresOtps]) -> None:
    codes = [await created(stores[0], destination=f"+1415555{n:04}", code=f"{n:06}") for n in range(60)]
    gateway = flow(stores[1])
    answers = await asyncio.gather(*(gateway.verify(otp.id, f"{n:06}", "signup") for n, otp in enumerate(codes)))
    assert [a.destination for a in answers] == [otp.request.destination for otp in codes]


async def test_one_of_many_gateways_creates_a_named_code(stores: list[PostgresOtps]) -> None:
    limit = Charge(limit="destination", key="k", rate=Rate(most=1, seconds=60.0))
    found = await asyncio.gather(*(create(stores[n % 3], request_id="r-1", charged=(limit,)) for n in range(60)))
    assert len({otp.id for otp in found if otp}) == 1
    assert None not in found
    assert await create(stores[0], request_id="r-1", purpose="other") is None
    assert (await created(stores[0], request_id="r-1", caller="billing")).request.caller == "billing"


async def test_no_number_of_sends_at_once_gets_past_a_limit(stores: list[PostgresOtps]) -> None:
    limits = tuple(
        Charge(limit=name, key="k", rate=Rate(most=most, seconds=60.0)) for name, most in (("a", 7), ("b", 50))
    )
    answers = await asyncio.gather(*(create(stores[n % 3], charged=limits) for n in range(300)), return_exceptions=True)
    assert sum(isinstance(a, Otp) for a in answers) == 7
    refused = [a for a in answers if isinstance(a, LimitReachedError)]
    assert {r.limit for e in refused for r in e.refusals} == {"a"}
    # A transaction that began earlier may see what one that began later has counted: by its own time that is ahead.
    assert all(0 < e.retry_after <= 70 for e in refused)


async def test_a_limit_looks_back_over_a_sliding_window(stores: list[PostgresOtps], databases: list[Database]) -> None:
    limit = (Charge(limit="a", key="k", rate=Rate(most=2, seconds=60.0)),)
    for _ in range(2):
        await created(stores[0], charged=limit)
        await execute(
            databases[0],
            "UPDATE relaypost.otp_limits SET times = ARRAY(SELECT t - interval '31 seconds' FROM unnest(times) AS t)",
        )
    await created(stores[0], charged=limit)  # The first was 62 s ago.
    with pytest.raises(LimitReachedError) as caught:
        await create(stores[0], charged=limit)
    assert 25 < caught.value.retry_after <= 29


async def test_a_refused_send_counts_under_no_limit(stores: list[PostgresOtps]) -> None:
    full = Charge(limit="a", key="k", rate=Rate(most=1, seconds=60.0))
    other = Charge(limit="b", key="k", rate=Rate(most=1, seconds=60.0))
    await created(stores[0], charged=(full,))
    with pytest.raises(LimitReachedError):
        await create(stores[0], charged=(full, other))
    await created(stores[0], charged=(other,))


async def test_the_clock_of_a_gateway_makes_no_life_longer(
    stores: list[PostgresOtps], databases: list[Database]
) -> None:
    """No statement takes a time from the gateway: what is sent is a number of seconds."""
    otp = await created(stores[0])
    await execute(databases[0], "UPDATE relaypost.otps SET expire_time = now()")
    assert await stores[1].guess(otp.id, "signup", 6) is None
    assert await stores[1].find(otp.id, "signup", attempts=5) is None


async def test_a_pepper_that_was_replaced_still_verifies(stores: list[PostgresOtps]) -> None:
    old = await created(stores[0])
    texts = Rig([FakeProvider("t", channel=Channel.SMS)], Channel.SMS)
    templates = built_in()
    renewed = otps(stores[1], Rig([FakeProvider("a")]), texts, templates, POLICY, peppers=Peppers("n" * 32, [PEPPER]))
    await renewed.resend(old.id, "signup", client="", time_left=None)
    assert code_in(texts.providers[0].received[0]) == CODE
    assert (await renewed.verify(old.id, CODE, "signup")).destination == "+14155550123"
    another = await created(stores[0])
    stranger = otps(stores[2], Rig([FakeProvider("a")]), texts, templates, POLICY, peppers=Peppers("s" * 32))
    with pytest.raises(OtpNotVerifiedError):
        await stranger.verify(another.id, CODE, "signup")
    with pytest.raises(OtpOverError):
        await stranger.resend(another.id, "signup", client="", time_left=None)


async def test_a_repeated_request_goes_on_with_the_same_code_until_it_is_sent(
    stores: list[PostgresOtps], databases: list[Database]
) -> None:
    provider = FakeProvider("t", [failing(Kind.FAULTED), ACCEPTED], Channel.SMS)
    claims: Any = PostgresRequests(databases[0], lease=45.0)
    texts = Rig([provider], Channel.SMS, requests=claims)
    gateway = otps(stores[0], Rig([FakeProvider("a")]), texts, built_in(), POLICY)
    named = request(request_id="r-1", variables={"app": "Acme"})
    failed, sent, again = [await gateway.send(named, client="", time_left=None) for _ in range(3)]
    assert [s.sent.record.state for s in (failed, sent, again)] == [
        MessageState.FAILED,
        MessageState.SENT,
        MessageState.SENT,
    ]
    assert (sent.sent.replayed, again.sent.replayed) == (False, True)
    assert {s.otp.id for s in (failed, sent, again)} == {sent.otp.id}
    assert {s.sent.record.id for s in (failed, sent, again)} == {sent.sent.record.id}
    first, second = (code_in(m) for m in provider.received)
    assert first == second
    assert (await gateway.verify(sent.otp.id, second, "signup")).purpose == "sign_in"


async def test_no_table_holds_the_code(stores: list[PostgresOtps], databases: list[Database]) -> None:
    code = "3141592653"
    otp = await created(stores[0], code=code, length=10)
    with pytest.raises(OtpNotVerifiedError):
        await flow(stores[0]).verify(otp.id, other_than(code), "signup")
    assert code not in await dump(databases[0])
    assert otp.id in await dump(databases[0])


async def test_what_is_over_is_emptied_and_then_forgotten(
    stores: list[PostgresOtps], databases: list[Database]
) -> None:
    otp = await created(stores[0], variables={"app": "Canary"}, charged=(charge(),))
    upkeep = OtpUpkeep(stores[1], retention=3600.0, window=600.0, metrics=Metrics())
    await upkeep.round()
    assert "Canary" in await dump(databases[0])
    await execute(databases[0], "UPDATE relaypost.otps SET expire_time = now() - interval '2 minutes'")
    await upkeep.round()
    held = await dump(databases[0])
    assert otp.id in held
    assert "Canary" not in held
    await execute(databases[0], "UPDATE relaypost.otps SET create_time = now() - interval '2 hours'")
    await execute(databases[0], "UPDATE relaypost.otp_limits SET seconds = 0")
    await upkeep.round()
    assert otp.id not in await dump(databases[0])
    assert "+14155550123" not in await dump(databases[0])


async def test_conversion_is_counted_by_provider_and_country(
    stores: list[PostgresOtps], databases: list[Database]
) -> None:
    requests = PostgresRequests(databases[0], lease=45.0)
    for number, (country, used) in enumerate([("US", True), ("US", False), ("DE", True), ("US", True)]):
        otp = await created(stores[0], country=country, destination=f"+1415555{number:04}")
        sent = record(id=str(uuid.uuid4()), channel=Channel.SMS, provider="sns", state=MessageState.SENT, attempts=())
        key = RequestKey(caller="signup", method=METHOD, request_id=otp.name_of_send(1))
        await requests.begin(Claim(key=key, fingerprint="f", record=sent, first_provider="sns"))
        if used:
            await flow(stores[0]).verify(otp.id, CODE, "signup")
    metrics = Metrics()
    upkeep = OtpUpkeep(stores[1], retention=3600.0, window=600.0, metrics=metrics)
    await upkeep.round()
    # The one that nobody typed yet does not count before its life is over.
    assert {(c.provider, c.country, c.sent, c.verified) for c in upkeep.conversions} == {
        ("sns", "US", 2, 2),
        ("sns", "DE", 1, 1),
    }
    await execute(databases[0], "UPDATE relaypost.otps SET expire_time = now() WHERE used_time IS NULL")
    await upkeep.round()
    assert ("sns", "US", 3, 2) in {(c.provider, c.country, c.sent, c.verified) for c in upkeep.conversions}
    line = 'relaypost_otp_recent_sent{channel="sms",country="US",provider="sns"} 3.0'
    assert line in metrics.render().decode()


async def test_while_the_database_is_away_everything_is_refused(bundled_database: str, tmp_path: Path) -> None:
    async with (
        proxy(socket_of(bundled_database)) as between,
        opened(over_tcp(bundled_database, between.port), tmp_path) as database,
    ):
        store = PostgresOtps(database, POLICY, method=METHOD)
        otp = await created(store)
        between.cut()
        calls = [create(store), store.guess(otp.id, "signup", 6), store.find(otp.id, "signup", attempts=5)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(a, LogUnavailableError) for a in answers)
        between.mend()
        assert isinstance(await store.guess(otp.id, "signup", 6), Guess)


def charge() -> Charge:
    return Charge(limit="destination", key="+14155550123", rate=Rate(most=5, seconds=600.0))


async def dump(database: Database) -> str:
    """Every row of every table, as text."""
    async with database.transaction() as connection:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'relaypost'")
        rows: list[str] = []
        for (name,) in tables:
            assert re.fullmatch("[a-z_]+", name)
            rows += [str(row[0]) for row in await connection.fetch(f"SELECT t::text FROM relaypost.{name} AS t")]
    return "\n".join(rows)
