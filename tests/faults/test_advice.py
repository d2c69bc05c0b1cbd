"""Two gateways and a Redis between them: what one finds out makes the other wary; without Redis both go on."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from relaypost import RelaypostError
from relaypost.v1 import message_pb2, provider_health_pb2

from tests.fakes.http import answer
from tests.faults.providers import FAULT
from tests.faults.world import World, kinds, world
from tests.redis_server import RedisServer, redis_server

CHANNEL = "relaypost:advice"
CLOSED, OPEN = message_pb2.CIRCUIT_STATE_CLOSED, message_pb2.CIRCUIT_STATE_OPEN
HALF_A_MINUTE = answer(429, b"{}", Retry_After="30")
TROUBLE = {"warning", "error", "critical"}


@asynccontextmanager
async def two(database: str, redis: RedisServer) -> AsyncIterator[tuple[World, World]]:
    """Two gateways that hear one another, each before providers of its own."""
    async with contextlib.AsyncExitStack() as stack:
        environ = {"RELAYPOST_REDIS_URL": redis.url}
        starting = [world(database, environ) for _ in range(2)]
        one, other = await asyncio.gather(*(stack.enter_async_context(each) for each in starting))
        await redis.until_heard(CHANNEL, 2)
        yield one, other


async def metric(running: World, line: str) -> bool:
    _, metrics = await running.gateway.get("/metrics")
    return line in metrics.splitlines()


async def until_metric(running: World, line: str) -> None:
    async with asyncio.timeout(20):
        while not await metric(running, line):
            await asyncio.sleep(0.02)


async def until_wary(running: World, provider: str) -> provider_health_pb2.ProviderHealth:
    async with asyncio.timeout(20):
        while True:
            health = await running.health(provider)
            if health.HasField("wary_until_time"):
                return health
            await asyncio.sleep(0.02)


async def open_circuit(running: World, provider: str) -> None:
    running.providers.over_http(provider).always(FAULT[provider])
    for _ in range(5):
        with contextlib.suppress(RelaypostError):
            await running.send(provider)
    assert (await running.health(provider)).circuit_state == OPEN


async def test_what_one_gateway_finds_out_the_other_heeds(bundled_database: str) -> None:
    """A circuit makes it wary, a throttle keeps it away; neither is told on."""
    async with redis_server() as redis, two(bundled_database, redis) as (one, other):
        await open_circuit(one, "ses")
        health = await until_wary(other, "ses")
        assert (health.circuit_state, health.available) == (CLOSED, True)
        _, over_http = await other.gateway.get("/health/messaging")
        assert "waryUntilTime" in over_http

        other.providers.ses.always(FAULT["ses"])
        assert kinds(await other.email()) == [("ses", "FAULTED"), ("sendgrid", "ACCEPTED")]
        assert kinds(await other.email()) == [("ses", "SKIPPED"), ("sendgrid", "ACCEPTED")]
        assert other.providers.received("ses") == 1
        assert (await other.health("ses")).circuit_reason == provider_health_pb2.CIRCUIT_REASON_ADVISED

        one.providers.twilio.always(HALF_A_MINUTE)
        one.providers.sns.always(FAULT["sns"])
        with contextlib.suppress(RelaypostError):
            await one.sms()
        await until_metric(other, 'relaypost_advice_heard_total{result="heeded"} 2.0')
        other.providers.sns.always(FAULT["sns"])
        with contextlib.suppress(RelaypostError):
            await other.sms()
        assert (one.providers.received("twilio"), other.providers.received("twilio")) == (1, 0)
        twilio = await other.health("twilio")
        assert (twilio.circuit_state, twilio.available) == (CLOSED, False)

        assert await metric(one, 'relaypost_advice_told_total{result="published"} 2.0')
        assert not await metric(other, 'relaypost_advice_told_total{result="published"} 1.0')
        assert await metric(other, "relaypost_advice_connected 1.0")


async def test_whatever_else_is_on_the_channel_changes_nothing(bundled_database: str) -> None:
    """The last message is sound: once it has been heeded, all the others have been read."""
    fields = '"v":1,"from":"x","at":AT,"channel":"email"'
    advice = "{" + fields + ',"what":"cooling","provider":"PROVIDER","seconds":SECONDS}'

    def message(at: str, seconds: str, provider: str = "ses") -> bytes:
        return advice.replace("AT", at).replace("SECONDS", seconds).replace("PROVIDER", provider).encode()

    async with redis_server() as redis, world(bundled_database, {"RELAYPOST_REDIS_URL": redis.url}) as running:
        await redis.until_heard(CHANNEL, 1)
        now = str(time.time())
        hostile = [
            b"",
            b"garbage \xff\x00",
            b"[" * 400,
            b"x" * 1024 * 1024,
            message(now, "NaN"),
            message(now, "1" + "0" * 400),
            message("NaN", "60"),
            message(now, '"60"'),
            message(now, "-60"),
            message("0", "60"),
            message("9" * 30, "60"),
            message(now, "60", "nobody"),
            message(now, "60").replace(b'"v":1', b'"v":2'),
        ]
        await redis.publish(CHANNEL, *hostile)
        await redis.publish(f"other{CHANNEL}", message(now, "60"))
        await redis.publish(CHANNEL, message(now, "1e300", "smtp"))
        await until_metric(running, 'relaypost_advice_heard_total{result="heeded"} 1.0')
        for result, count in {"malformed": 8, "stale": 2, "future": 1, "unknown": 1, "foreign": 1}.items():
            assert await metric(running, f'relaypost_advice_heard_total{{result="{result}"}} {count}.0')
        assert kinds(await running.email()) == [("ses", "ACCEPTED")]
        assert not (await running.health("ses")).HasField("wary_until_time")
        assert not (await running.health("smtp")).available
        assert not [line for line in running.gateway.logged if line["level"] in TROUBLE]


async def test_sends_go_on_while_redis_hangs_or_is_gone_and_advice_resumes(bundled_database: str) -> None:
    """Were a send to wait for Redis, these would take a minute together."""
    async with redis_server() as redis, two(bundled_database, redis) as (one, other):
        redis.signal(signal.SIGSTOP)
        await sends(one, other)
        await open_circuit(one, "ses")
        await sends(one, other)
        redis.signal(signal.SIGCONT)

        await redis.kill()
        one.providers.twilio.always(HALF_A_MINUTE)
        one.providers.sns.always(FAULT["sns"])
        with contextlib.suppress(RelaypostError):
            await one.sms()
        await until_metric(one, "relaypost_advice_connected 0.0")
        one.providers.heal()
        await sends(one, other)
        for running in (one, other):
            troubled = [line["event"] for line in running.gateway.logged if line["level"] in TROUBLE]
            assert troubled.count("advice unavailable") == 1
            assert not {"error", "critical"} & {line["level"] for line in running.gateway.logged}

        await redis.start()
        await redis.until_heard(CHANNEL, 2)
        await open_circuit(one, "sendgrid")
        await until_wary(other, "sendgrid")
        assert one.gateway.events("advice connected")
        for running in (one, other):
            assert await running.gateway.stop() == 0


async def sends(*those: World) -> None:
    async with asyncio.timeout(20):
        for _ in range(15):
            for running in those:
                assert (await running.email()).state == message_pb2.MESSAGE_STATE_SENT
