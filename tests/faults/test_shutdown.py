"""SIGTERM under load: row 29 of the fault matrix."""

import asyncio
import random

import pytest
from relaypost import AsyncClient, RelaypostError

from tests.fakes.http import Reply
from tests.faults.callers import Callers
from tests.faults.database import read_log
from tests.faults.history import History, Result, check
from tests.faults.providers import TAKEN
from tests.faults.world import World, until, world

DELAY = {"RELAYPOST_SHUTDOWN_DELAY_SECONDS": "1"}


async def history_of_a_stop(running: World, database: str) -> tuple[History, int, float]:
    """What came of a stop under 100 messages/s; the exit code, and how long it took."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    callers = Callers([running.gateway.grpc], seed=29, rate=100, keyed=False)
    try:
        sending = asyncio.create_task(callers.send_until(stop))
        await until(lambda: len(callers.calls) > 50)
        began = loop.time()
        stopping = asyncio.create_task(running.gateway.stop())
        await asyncio.sleep(1.5)
        stop.set()
        code, took = await stopping, loop.time() - began
        await sending
    finally:
        await callers.close()
    return History(callers.calls, running.providers.submissions(), await read_log(database)), code, took


async def test_what_has_begun_ends_well_and_is_on_record(bundled_database: str) -> None:
    """Exit 0; nothing lost, unlogged or sent twice, and nobody who was taken on is left without an answer."""
    async with world(bundled_database, DELAY) as running:
        draw = random.Random(29)
        for name in ("ses", "sns"):
            fake, taken = running.providers.over_http(name), TAKEN[name]
            fake.reply = lambda _, taken=taken: Reply(taken.data, delay=draw.uniform(0.0, 0.5))  # type: ignore[misc]
        history, code, took = await history_of_a_stop(running, bundled_database)
    assert (code, check(history)) == (0, [])
    assert took < 30.0
    tokens = {entry.token for entry in history.logged}
    unanswered = [call.token for call in history.calls if call.result is Result.UNKNOWN]
    assert not tokens & set(unanswered)
    assert len(tokens) > 150


async def test_what_outlives_the_grace_is_on_record_as_unconfirmed(bundled_database: str) -> None:
    """The providers say nothing for longer than the gateway may live."""
    environ = {
        "RELAYPOST_SHUTDOWN_GRACE_SECONDS": "1",
        "RELAYPOST_SES_TIMEOUT_SECONDS": "20",
        "RELAYPOST_SNS_TIMEOUT_SECONDS": "20",
    }
    async with world(bundled_database, environ) as running:
        running.providers.ses.always(Reply(then="hang"))
        sending = [asyncio.create_task(running.email(token=f"t{n}", at_most_once=True)) for n in range(5)]
        await until(lambda: running.providers.received("ses") == 5)
        assert await running.gateway.stop() == 0
        await asyncio.gather(*sending, return_exceptions=True)
    logged = await read_log(bundled_database)
    assert [(e.state, e.attempts) for e in logged] == [("unconfirmed", (("ses", "unconfirmed"),))] * 5


async def test_it_says_that_it_is_not_serving_before_it_refuses(bundled_database: str) -> None:
    """Load balancers look elsewhere while calls are still taken on; afterwards a call is refused, not lost."""
    async with world(bundled_database, DELAY) as running:
        stopping = asyncio.create_task(running.gateway.stop())
        async with asyncio.timeout(5):
            while (await running.gateway.get("/health/ready"))[0] != 503:
                await asyncio.sleep(0.02)
        await running.email()
        assert await stopping == 0
        async with AsyncClient(running.gateway.grpc) as late:
            with pytest.raises(RelaypostError) as caught:
                await late.send_sms(to="+14155550123", text="Hi", timeout=2.0)
            assert caught.value.code.name in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    assert running.providers.counts == {"ses": 1}
