"""Look-ups on a real PostgreSQL, from the lost answer to the settled message."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from relaypost_server.core.look_ups import Doubt
from relaypost_server.core.message import MessageState
from relaypost_server.core.outcome import Kind
from relaypost_server.core.record import MessageRecord
from relaypost_server.flow.look_ups import LookUps
from relaypost_server.providers.twilio import Twilio
from relaypost_server.store import writer
from relaypost_server.store.deliveries import PostgresDeliveries
from relaypost_server.store.doubts import PostgresDoubts
from relaypost_server.store.messages import PostgresLog
from relaypost_server.telemetry.metrics import Metrics
from tests.fakes.http import answer, fake_http
from tests.providers.configured import OVER_HTTP, build
from tests.store.databases import opened
from tests.store.test_silences import attempt, texted

LOST = Kind.UNCONFIRMED


@dataclass
class World:
    """A log, and the questions about what is in it."""

    url: str
    log: PostgresLog
    deliveries: PostgresDeliveries
    doubts: PostgresDoubts

    async def lost(self, *, seconds_ago: float = 200.0, **changes: Any) -> MessageRecord:
        """A message whose answer from Twilio was lost."""
        at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        made = attempt("twilio", changes.pop("kind", LOST), provider_message_id=changes.pop("sid", ""))
        fields = {
            "state": MessageState.UNCONFIRMED,
            "provider": "",
            "provider_message_id": "",
            "create_time": at,
            "update_time": at,
            "attempts": (type(made)(**{**{n: getattr(made, n) for n in made.__slots__}, "start_time": at}),),
        }
        record = texted(**{**fields, **changes})
        await self.log.append(record)
        return record

    async def claimed(self, limit: int = 10) -> list[Doubt]:
        return list(await self.doubts.claim("twilio", limit))

    async def turn_back(self, minutes: float) -> None:
        """As if the last look-ups had been so many minutes earlier."""
        connection = await asyncpg.connect(self.url)
        await connection.execute(
            "UPDATE relaypost.messages SET look_up_time = look_up_time - make_interval(secs => $1)", minutes * 60.0
        )
        await connection.close()


@asynccontextmanager
async def world_on(url: str, home: Path) -> AsyncIterator[World]:
    async with opened(url, home) as database:
        yield World(url, PostgresLog(database), PostgresDeliveries(database), PostgresDoubts(database))


@pytest.fixture
async def world(bundled_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(writer, "ANSWER_SECONDS", 30.0)
    async with world_on(bundled_database, tmp_path) as made:
        yield made


async def test_a_lost_answer_is_asked_about_four_times_ever_more_rarely(world: World) -> None:
    lost = await world.lost()
    for minutes in (9, 59, 359, 10_000):
        [doubt] = await world.claimed()
        assert (doubt.message_id, doubt.recipient, doubt.rivals, doubt.known) == (
            lost.id,
            "+14155550123",
            0,
            frozenset(),
        )
        await world.turn_back(minutes)
        assert await world.claimed() == []
        await world.turn_back(2)


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds_ago": 100.0},
        {"seconds_ago": 90_000.0},
        {"state": MessageState.SENT},
        {"kind": Kind.FAULTED},
        {"attempts": (attempt("sns", LOST),)},
    ],
    ids=["too young", "too old", "settled", "not lost", "another provider"],
)
async def test_others_are_not_asked_about(world: World, changes: dict[str, Any]) -> None:
    await world.lost(**changes)
    assert await world.claimed() == []


async def test_two_gateways_do_not_ask_the_same(world: World, bundled_database: str, tmp_path: Path) -> None:
    ids = {(await world.lost()).id for _ in range(6)}
    async with world_on(bundled_database, tmp_path / "other") as other:
        found = await asyncio.gather(*(w.claimed(limit=2) for w in (world, other) * 3))
    claimed = [doubt.message_id for some in found for doubt in some]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) | {d.message_id for d in await world.claimed()} == ids


async def test_other_messages_to_the_recipient_are_told(world: World) -> None:
    lost = await world.lost(seconds_ago=300.0)
    await world.lost(seconds_ago=280.0, kind=Kind.ACCEPTED, sid="SM1", state=MessageState.SENT)
    await world.lost(seconds_ago=310.0, state=MessageState.SENT, provider="twilio", provider_message_id="SM2")
    await world.lost(seconds_ago=600.0, kind=Kind.ACCEPTED, sid="SM3", state=MessageState.SENT)
    await world.lost(seconds_ago=300.0, recipients=("+14155550199",))
    rival = await world.lost(seconds_ago=250.0)
    found = {d.message_id: (d.rivals, d.known) for d in await world.claimed()}
    assert found[lost.id] == found[rival.id] == (1, frozenset({"SM1", "SM2"}))


async def test_a_message_that_twilio_has_is_settled(world: World) -> None:
    lost, unknown = await world.lost(), await world.lost(recipients=("+14155550199",))
    body = {"messages": [listed(lost)], "page": 0, "page_size": 50, "next_page_uri": None}
    async with fake_http(answer(200, json.dumps(body).encode(), Content_Type="application/json")) as peer:
        twilio: Twilio = build("twilio", OVER_HTTP["twilio"](peer.url))
        twilio.look_up_pause = 0.0
        metrics = Metrics()
        await LookUps(world.doubts, world.deliveries, [twilio], metrics).round(twilio)
        await twilio.close()
        assert len(peer.received) == 2
    found, still = await world.log.get(lost.id), await world.log.get(unknown.id)
    assert found is not None
    assert (found.state, found.provider, found.provider_message_id) == (MessageState.DELIVERED, "twilio", "SM9")
    assert still is not None
    assert still.state is MessageState.UNCONFIRMED
    for result in ("settled", "not_found"):
        assert f'relaypost_look_ups_total{{provider="twilio",result="{result}"}} 1.0' in metrics.render().decode()


async def test_a_message_that_may_be_another_one_is_not(world: World) -> None:
    lost, rival = await world.lost(), await world.lost()
    body = {"messages": [listed(lost)], "page": 0, "page_size": 50, "next_page_uri": None}
    async with fake_http(answer(200, json.dumps(body).encode(), Content_Type="application/json")) as peer:
        twilio: Twilio = build("twilio", OVER_HTTP["twilio"](peer.url))
        twilio.look_up_pause = 0.0
        await LookUps(world.doubts, world.deliveries, [twilio], Metrics()).round(twilio)
        await twilio.close()
    for one in (lost, rival):
        found = await world.log.get(one.id)
        assert found is not None
        assert found.state is MessageState.UNCONFIRMED


def listed(lost: MessageRecord) -> dict[str, Any]:
    at = format_datetime(lost.create_time)
    return {
        "sid": "SM9",
        "status": "delivered",
        "direction": "outbound-api",
        "from": "+14155550100",
        "to": lost.recipients[0],
        "date_created": at,
        "date_updated": at,
    }
