"""What providers tell about messages that may have been sent."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from relaypost_server.core.delivery import DeliveryEvent, EventType, RejectReason
from relaypost_server.core.look_ups import Answering, Doubt, LookUpError
from relaypost_server.providers import twilio_look_up
from tests.fakes.http import HANG, Reply, answer, closed_port, fake_http
from tests.messages import ID, NOW
from tests.providers.configured import OVER_HTTP, TWILIO, build

DOUBT = Doubt(message_id=ID, provider="", recipient="+14155550123", sender="", start_time=NOW, duration=1.0, rivals=0)
SERVICE = "MG0123456789abcdef0123456789abcdef"


def twilio_message(sid: str = "SM1", *, after: float = 0.5, sender: str = "", **changes: Any) -> dict[str, Any]:
    at = format_datetime(NOW + timedelta(seconds=after))
    return {
        "sid": sid,
        "status": "delivered",
        "direction": "outbound-api",
        "from": sender or TWILIO["TWILIO_PHONE_NUMBER"],
        "to": DOUBT.recipient,
        "messaging_service_sid": None,
        "date_created": at,
        "date_updated": at,
        "date_sent": at,
        "error_code": None,
        "error_message": None,
        **changes,
    }


def page(*messages: Mapping[str, Any]) -> Reply:
    body = {"messages": messages, "page": 0, "page_size": 50, "next_page_uri": None, "uri": "/"}
    return answer(200, json.dumps(body).encode(), Content_Type="application/json")


async def looked_up(
    name: str, reply: Reply, doubt: Doubt = DOUBT, environ: Mapping[str, str] | None = None
) -> Sequence[DeliveryEvent]:
    async with fake_http(reply) as peer:
        environ = {f"RELAYPOST_{name.upper()}_LOOK_UPS": "true", **(environ or {})}
        provider = build(name, {**OVER_HTTP[name](peer.url), **environ})
        try:
            found: Sequence[DeliveryEvent] = await provider.look_up(doubt)
        finally:
            await provider.close()
        assert len(peer.received) == 1
        asked.append(peer.received[0].line.split()[1])
        return found


asked: list[str] = []
"""The paths of the questions, in order."""


async def test_twilio_is_asked_once_for_what_the_recipient_got() -> None:
    [found] = await looked_up("twilio", page(twilio_message()))
    assert (found.message_id, found.provider, found.provider_message_id) == (ID, "twilio", "SM1")
    assert (found.type, found.event_id, found.time) == (EventType.DELIVERED, "SM1 delivered", NOW)
    query = parse_qs(urlsplit(asked[-1]).query)
    assert (query["To"], query["PageSize"]) == (["+14155550123"], ["50"])


async def test_what_twilio_gave_up_is_told_as_its_receipt_would() -> None:
    lost = twilio_message(status="undelivered", error_code=30006, error_message="Landline")
    [found] = await looked_up("twilio", page(lost))
    assert (found.type, found.reject_reason, found.permanent) == (EventType.BOUNCED, RejectReason.INVALID, True)
    assert (found.provider_code, found.detail) == ("30006", "Landline")


@pytest.mark.parametrize(
    "changes",
    [
        {"after": -11.0},
        {"after": 62.0},
        {"to": "+14155550199"},
        {"direction": "inbound"},
        {"direction": "outbound-reply"},
        {"from": "+14155550999"},
        {"date_created": None},
    ],
    ids=str,
)
async def test_messages_that_cannot_be_it_are_left_out(changes: dict[str, Any]) -> None:
    right, other = twilio_message("SM1"), twilio_message("SM2", **changes)
    assert [e.provider_message_id for e in await looked_up("twilio", page(other, right))] == ["SM1"]


async def test_the_sender_is_the_one_that_would_have_been_used() -> None:
    service = {"RELAYPOST_TWILIO_MESSAGING_SERVICE_SID": SERVICE}
    by_service = twilio_message(messaging_service_sid=SERVICE, sender="+14155550777")
    assert len(await looked_up("twilio", page(by_service), environ=service)) == 1
    assert len(await looked_up("twilio", page(twilio_message()), environ=service)) == 0
    abroad = replace(DOUBT, recipient="+4915112345678", sender="EXAMPLE")
    assert len(await looked_up("twilio", page(twilio_message(sender="EXAMPLE", to=abroad.recipient)), abroad)) == 1
    # Where Twilio takes no such name, the account's number sends it.
    assert len(await looked_up("twilio", page(twilio_message(to=abroad.recipient)), abroad)) == 1
    assert len(await looked_up("twilio", page(twilio_message(sender="OTHER", to=abroad.recipient)), abroad)) == 0
    by_number = replace(abroad, sender="+14155550777")
    from_it = twilio_message(sender="+14155550777", to=abroad.recipient)
    assert len(await looked_up("twilio", page(from_it), by_number)) == 1
    assert len(await looked_up("twilio", page(twilio_message(to=abroad.recipient)), by_number)) == 0


async def test_a_page_that_does_not_reach_back_far_enough_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twilio_look_up, "PAGE", 2)
    newer = [twilio_message("SM1"), twilio_message("SM2", after=900.0)]
    with pytest.raises(LookUpError, match="too many"):
        await looked_up("twilio", page(*newer))
    assert len(await looked_up("twilio", page(newer[0], twilio_message("SM0", after=-900.0)))) == 1


def activity(*messages: Mapping[str, Any]) -> Reply:
    return answer(200, json.dumps({"messages": messages}).encode(), Content_Type="application/json")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("delivered", EventType.DELIVERED),
        ("not_delivered", EventType.FAILED),
        ("processing", EventType.SENT),
        ("new", EventType.SENT),
    ],
)
async def test_sendgrid_is_asked_for_our_own_id(status: str, kind: EventType) -> None:
    item = {"msg_id": "abc.filter-1", "status": status, "last_event_time": "2026-07-01T12:00:05Z", "subject": "secret"}
    [found] = await looked_up("sendgrid", activity(item))
    assert (found.message_id, found.provider_message_id, found.type) == (ID, "abc", kind)
    assert found.time == NOW + timedelta(seconds=5)
    assert "secret" not in str(found.raw)
    query = parse_qs(urlsplit(asked[-1]).query)
    assert query["query"] == [f"(unique_args['relaypost_message_id']=\"{ID}\")"]


async def test_an_event_without_a_good_time_happened_when_it_was_sent() -> None:
    [found] = await looked_up("sendgrid", activity({"msg_id": "abc", "status": "delivered", "last_event_time": 7}))
    assert found.time == NOW


@pytest.mark.parametrize("name", ["twilio", "sendgrid"])
@pytest.mark.parametrize(
    "reply",
    [
        answer(401, b"{}"),
        answer(429, b"{}"),
        answer(500, b"<html>"),
        answer(200, b"<html>"),
        answer(200, b"[]"),
        answer(200, b'{"messages": 7}'),
        Reply(b"garbage\r\n\r\n", then="close"),
    ],
    ids=lambda r: r.data[:20].decode(),
)
async def test_answers_that_tell_nothing(name: str, reply: Reply) -> None:
    with pytest.raises(LookUpError):
        await looked_up(name, reply)


@pytest.mark.parametrize("name", ["twilio", "sendgrid"])
async def test_a_provider_that_is_out_of_reach_or_hangs(name: str) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    with pytest.raises(LookUpError):
        await build(name, OVER_HTTP[name](url)).look_up(DOUBT)
    slow = {f"RELAYPOST_{name.upper()}_CONNECT_TIMEOUT_SECONDS": "0.2"}
    with pytest.raises(LookUpError):
        await looked_up(name, HANG, environ=slow)


def test_look_ups_are_asked_for_only_where_they_are_free() -> None:
    url = "http://127.0.0.1:1"
    twilio, sendgrid = (build(name, OVER_HTTP[name](url)) for name in ("twilio", "sendgrid"))
    assert isinstance(twilio, Answering)
    assert isinstance(sendgrid, Answering)
    assert (twilio.looks_up, sendgrid.looks_up) == (True, False)
