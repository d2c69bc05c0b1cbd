"""Waiting for a confirmation, and what goes out without one."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from relaypost_server.core.delivery import EventType, RejectReason
from relaypost_server.core.message import Channel, Guarantee, MessageState
from relaypost_server.core.outcome import Kind
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.silence import AGAIN, Confirm, News, OtpSend
from relaypost_server.core.suppression import SuppressionReason
from relaypost_server.flow import second_send, silence
from relaypost_server.flow.background import BackgroundTasks
from relaypost_server.flow.send import Sent
from relaypost_server.flow.silence import Room
from tests import messages
from tests.fakes.providers import ACCEPTED, Answer, FakeClock, FakeProvider, Rig, failing, hang
from tests.fakes.suppressions import FakeScreen
from tests.receipts import event

WITHIN = 30.0


def rig(*answers: Sequence[Answer], **fields: Any) -> Rig:
    """Providers "a", "b" and so on; only "a" reports receipts."""
    chosen = answers or ([ACCEPTED], [ACCEPTED])
    chain = [FakeProvider(name, list(a), channel=Channel.SMS) for name, a in zip("abc", chosen, strict=False)]
    return Rig(chain, Channel.SMS, clock=FakeClock(), **fields)


async def send(made: Rig, otp: OtpSend | None = None, **changes: Any) -> Sent:
    return await made.sender.send(
        messages.sms(**changes).content,
        guarantee=Guarantee.AT_LEAST_ONCE,
        metadata={},
        time_left=None,
        confirm=Confirm(within=WITHIN, otp=otp),
    )


async def look(made: Rig, *, after: float = 0.0) -> None:
    """Looks once, and lets what was begun end."""
    assert made.clock is not None
    made.clock.turn(after)
    await made.silences.look()
    await asyncio.gather(*made.silences._sending)


def received(made: Rig) -> list[int]:
    return [len(p.received) for p in made.providers]


def counted(made: Rig, result: str) -> bool:
    return f'relaypost_silences_total{{channel="sms",provider="a",result="{result}"}} 1.0' in (
        made.metrics.render().decode()
    )


def waiting(made: Rig) -> bool:
    return "relaypost_silence_waiting_messages 0.0" not in made.metrics.render().decode()


async def test_silence_makes_one_further_send_by_the_next_provider() -> None:
    made = rig()
    sent = await send(made, validity=300.0)
    assert made.clock is not None
    assert sent.confirm_until is not None
    assert (sent.confirm_until - made.clock.wall).total_seconds() == WITHIN
    await look(made, after=29.9)
    assert received(made) == [1, 0]
    for _ in range(3):
        await look(made, after=WITHIN)
    assert received(made) == [1, 1]
    first, second = made.providers[0].received[0], made.providers[1].received[0]
    assert (second.id, second.content.text) == (first.id, first.content.text)
    assert made.silence_log.claimed == [(sent.record.id, "b")]
    [(message_id, [attempt], sent_by)] = made.silence_log.finished
    assert (message_id, sent_by, attempt.kind, attempt.outcome.detail) == (sent.record.id, "b", Kind.ACCEPTED, AGAIN)
    assert counted(made, "sent")
    assert not waiting(made)


@pytest.mark.parametrize(
    ("news", "result"),
    [
        (News(events=(event(EventType.DELIVERED),)), "confirmed"),
        (News(verified=True), "confirmed"),
        (News(moot=True), "given_up"),
        (News(events=(event(EventType.BOUNCED, reject_reason=RejectReason.INVALID),)), "given_up"),
    ],
)
async def test_news_in_time_ends_the_wait(news: News, result: str) -> None:
    made = rig()
    made.silence_log.known[(await send(made)).record.id] = news
    await look(made)
    await look(made, after=WITHIN)
    assert received(made) == [1, 0]
    assert counted(made, result)
    assert not waiting(made)


async def test_a_report_that_the_route_failed_is_not_waited_out() -> None:
    made = rig()
    failed = event(EventType.FAILED, reject_reason=RejectReason.OTHER)
    made.silence_log.known[(await send(made)).record.id] = News(events=(failed,))
    await look(made)
    assert received(made) == [1, 1]


@pytest.mark.parametrize("trouble", ["available", "grants"])
async def test_without_the_logs_word_nothing_more_is_sent(trouble: str) -> None:
    made = rig()
    await send(made)
    setattr(made.silence_log, trouble, False)
    for _ in range(3):
        await look(made, after=WITHIN)
    assert received(made) == [1, 0]
    assert counted(made, "given_up")


async def test_who_said_stop_meanwhile_gets_no_second_copy() -> None:
    screen = FakeScreen()
    made = rig(screen=screen)
    await send(made)
    screen.suppressed["+14155550123"] = SuppressionReason.UNSUBSCRIBED
    await look(made, after=WITHIN)
    assert received(made) == [1, 0]
    assert counted(made, "given_up")


async def test_a_stop_that_the_second_provider_tells_of_is_kept_in_mind() -> None:
    screen = FakeScreen()
    made = rig([ACCEPTED], [failing(Kind.REJECTED, opted_out=True)], screen=screen)
    await send(made)
    await look(made, after=WITHIN)
    assert screen.opted == [("+14155550123", "b")]


async def test_a_doubtful_second_send_is_the_last() -> None:
    made = rig([ACCEPTED], [failing(Kind.UNCONFIRMED)], [ACCEPTED])
    await send(made)
    await look(made, after=WITHIN)
    assert received(made) == [1, 1, 0]
    assert made.silence_log.finished[0][2] == "b"


async def test_a_second_send_goes_past_providers_that_certainly_took_nothing() -> None:
    made = rig([ACCEPTED], [failing(Kind.FAULTED)], [ACCEPTED])
    await send(made)
    await look(made, after=WITHIN)
    assert received(made) == [1, 1, 1]
    assert [provider for _, provider in made.silence_log.claimed] == ["b", "c"]
    [(_, attempts, sent_by)] = made.silence_log.finished
    assert ([a.kind for a in attempts], sent_by) == ([Kind.FAULTED, Kind.ACCEPTED], "c")


async def test_a_second_send_that_nobody_took_is_on_record_and_not_tried_again() -> None:
    made = rig([ACCEPTED], [failing(Kind.FAULTED)])
    await send(made)
    for _ in range(2):
        await look(made, after=WITHIN)
    assert received(made) == [1, 1]
    assert made.silence_log.finished[0][2] == ""
    assert counted(made, "failed")


async def test_a_provider_that_had_failed_before_may_carry_the_second_copy() -> None:
    made = rig([failing(Kind.FAULTED), ACCEPTED], [ACCEPTED], reporting=("b",))
    await send(made)
    await look(made, after=WITHIN)
    assert received(made) == [2, 1]


async def test_only_what_was_taken_is_waited_for() -> None:
    for answers in ([failing(Kind.FAULTED)], [failing(Kind.UNCONFIRMED)], [failing(Kind.REJECTED)]):
        made = rig(answers, [failing(Kind.UNCONFIRMED)])
        assert (await send(made)).confirm_until is None
        assert not waiting(made)


async def test_silence_means_nothing_where_no_receipts_are_set_up() -> None:
    made = rig(reporting=())
    assert (await send(made)).confirm_until is None
    assert counted(made, "no_receipts")
    code = OtpSend(otp_id=messages.ID, number=1)
    assert (await send(made, code)).confirm_until is not None
    await look(made, after=WITHIN)
    assert received(made) == [2, 1]


async def test_the_last_provider_of_a_chain_is_not_followed() -> None:
    made = rig([ACCEPTED])
    assert (await send(made)).confirm_until is None
    assert counted(made, "no_other_provider")


@pytest.mark.parametrize("room", [Room(messages=1, bytes=1_000_000), Room(messages=10, bytes=6_000)])
async def test_memory_is_bounded_by_number_and_by_bytes(room: Room) -> None:
    made = rig(room=room)
    assert (await send(made, text="x" * 1000)).confirm_until is not None
    beyond = await send(made, text="x" * 1000)
    assert (beyond.confirm_until, beyond.record.state) == (None, MessageState.SENT)
    assert counted(made, "no_room")
    await look(made, after=WITHIN)
    assert (await send(made, text="x" * 1000)).confirm_until is not None
    assert received(made) == [3, 1]


async def test_a_storm_of_second_sends_is_spread_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "MOST_AT_ONCE", 2)
    release = asyncio.Event()

    async def slow(message: object, timeout: float) -> Any:
        await release.wait()
        return ACCEPTED

    made = rig([ACCEPTED], [slow])
    for _ in range(5):
        await send(made)
    assert made.clock is not None
    made.clock.turn(WITHIN)
    for _ in range(3):
        await made.silences.look()
        await asyncio.sleep(0.01)
    assert received(made) == [5, 2]
    assert "relaypost_silence_waiting_messages 3.0" in made.metrics.render().decode()
    release.set()
    for _ in range(3):
        await look(made)
    assert received(made) == [5, 5]


async def test_no_bug_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "LOOK_SECONDS", 0.01)
    made, looks = rig(), []

    async def broken(waiting: object) -> Any:
        looks.append(waiting)
        if len(looks) < 3:
            raise RuntimeError("a bug")
        return {}

    made.silence_log.news = broken
    made.silence_log.claim = broken
    made.silences.start(BackgroundTasks(shortest=0.01))
    await send(made)
    assert made.clock is not None
    async with asyncio.timeout(10):
        while len(looks) < 3:
            await asyncio.sleep(0.01)
        made.clock.turn(WITHIN)
        while not counted(made, "failed"):
            await asyncio.sleep(0.01)
    await made.silences.drain()


async def test_a_message_without_the_wish_is_not_followed() -> None:
    made = rig()
    sent = await made.sender.send(
        messages.sms().content, guarantee=Guarantee.AT_LEAST_ONCE, metadata={}, time_left=None
    )
    assert sent.confirm_until is None
    assert not waiting(made)
    assert "relaypost_silences_total{" not in made.metrics.render().decode()


async def test_a_shutdown_forgets_what_waits_and_records_what_it_cuts_off() -> None:
    made = rig([ACCEPTED], [hang])
    await send(made)
    assert made.clock is not None
    made.clock.turn(WITHIN)
    await made.silences.look()
    await asyncio.sleep(0.01)
    await send(made)
    made.silences.cut_off()
    await made.silences.drain()
    assert received(made) == [2, 1]
    assert counted(made, "dropped")
    [(_, [attempt], sent_by)] = made.silence_log.finished
    assert (attempt.kind, sent_by) == (Kind.UNCONFIRMED, "b")
    assert (await send(made)).confirm_until is None


async def test_a_shutdown_does_not_wait_for_a_log_that_is_away() -> None:
    made = rig()
    await send(made)
    made.silence_log.finish = away
    assert made.clock is not None
    made.clock.turn(WITHIN)
    await made.silences.look()
    await asyncio.sleep(0.01)
    made.silences.cut_off()
    draining = asyncio.create_task(made.silences.drain())
    await asyncio.sleep(0)
    draining.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([draining])


async def away(*_: Any, **__: Any) -> None:
    raise LogUnavailableError


async def test_an_end_that_cannot_be_written_at_once_is_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_send, "WRITE_PAUSES", (0.0, 0.0))
    made, calls, finish = rig(), [], Rig([]).silence_log.finish

    async def twice_away(*arguments: Any, **fields: Any) -> None:
        calls.append(fields)
        if len(calls) < 3:
            await away()
        await finish(*arguments, **fields)

    made.silence_log.finish = twice_away
    await send(made)
    await look(made, after=WITHIN)
    assert len(calls) == 3
    assert counted(made, "sent")
