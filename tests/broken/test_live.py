"""Two mechanisms at a time, through the real process."""

import asyncio
import json
from datetime import UTC, datetime
from urllib.parse import parse_qs

import pytest
from relaypost import AsyncClient, RelaypostError
from relaypost.v1 import message_pb2, messaging_service_pb2 as pb, email_pb2, sms_pb2

from tests.e2e.gateway import gateway
from tests.fakes.http import fake_http, answer, HANG
from tests.fakes.smtp import fake_smtp, BREAK_OFF
from tests.providers.configured import TWILIO

TAKEN = answer(201, b'{"sid":"SM1"}', Content_Type="application/json")


def refused(code):
    return answer(400, json.dumps({"code": code, "message": "no"}).encode(), Content_Type="application/json")


async def test_all(bundled_database: str) -> None:
    problems = []

    def check(ok, what):
        if not ok:
            problems.append(what)

    async with fake_smtp() as smtp, fake_http(TAKEN) as twilio:
        smtp.replies["EHLO"] = "250-fake\r\n250-SIZE 1000000\r\n250-SMTPUTF8\r\n250 8BITMIME"
        environ = {
            **TWILIO, "RELAYPOST_TWILIO_ENDPOINT": twilio.url, "SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(smtp.port),
            "RELAYPOST_SMTP_TLS": "none", "RELAYPOST_TWILIO_PRICES_A_MINUTE": "0",
        }
        async with gateway(environ, database=bundled_database) as g, AsyncClient(g.grpc, caller="c") as client:
            # 1 pasted v clean
            E = {"subject": "s", "text": "t"}
            a = await client.send_email(to="ada@example.com", request_id="r1", **E)
            for typed in (" ada@example.com\u200b", "ada＠example.com", "ada@EXAMPLE.com", "\ufeffada@example.com\r\n"):
                try:
                    b = await client.send_email(to=typed, request_id="r1", **E)
                    check(b.message_id == a.message_id, ("email", typed))
                except RelaypostError as e:
                    problems.append(("email", typed, e))
            a = await client.send_sms(to="+14155550123", text="x", request_id="r2")
            for typed in ("tel:+1-415-555-0123", "\u202a+1 415 555 0123\u202c", "0014155550123", "＋1 (415) 555‑0123"):
                try:
                    b = await client.send_sms(to=typed, text="x", request_id="r2")
                    check(b.message_id == a.message_id, ("sms", typed))
                except RelaypostError as e:
                    problems.append(("sms", typed, e))
            try:
                b = await client.send_sms(to="4155550123", region_code="US", text="x", request_id="r2")
            except RelaypostError as e:
                problems.append(("sms region", e))
            check(len(smtp.received) == 1 and len(twilio.received) == 1, ("counts", len(smtp.received), len(twilio.received)))
            # adjustments in replays, GetMessage, ListMessages
            x = await client.send_email(to=" bob@example.com ", request_id="r3", **E)
            y = await client.send_email(to=" bob@example.com ", request_id="r3", **E)
            z = await client.send_email(to="bob@example.com", request_id="r3", **E)
            got = await client.get_message(x.message_id)
            check([str(m) for m in x.adjustments] == [str(m) for m in y.adjustments] == [str(m) for m in got.adjustments], ("adj", x, y, got))
            # same within queue
            q = await client.enqueue_email(to=" bob@example.com ", request_id="q1", **E)
            q2 = await client.enqueue_email(to="bob@example.com", request_id="q1", **E)
            check(q.message_id == q2.message_id, "enqueue pasted")
            await asyncio.sleep(1.5)
            got = await client.get_message(q.message_id)
            check([m.field for m in got.adjustments] == ["email.to[0].address"], ("queue adj", got))
            # get by provider id, tenancy as by id
            # filters with hostile strings
            import grpc
            from relaypost.v1 import messaging_service_pb2_grpc
            stub = messaging_service_pb2_grpc.MessagingServiceStub(grpc.aio.insecure_channel(g.grpc))
            r = await stub.GetMessage(pb.GetMessageRequest(provider="smtp", provider_message_id="4F1A2B3C"))
            check(r.message.provider == "smtp", "by provider id")
            hostile = ["a\0b", "x' OR 1=1 --", "\ud7ff", "{}", "$1", "%s", "\\", "a" * 300, "\u202e", "=?utf-8?q?x?=", "é", "\U0010ffff", "\x7f"]
            for h in hostile:
                for req in (
                    pb.GetMessageRequest(provider="smtp", provider_message_id=h),
                    pb.GetMessageRequest(provider=h, provider_message_id="x"),
                    pb.ListMessagesRequest(metadata={"a": h}), pb.ListMessagesRequest(metadata={h: "a"}),
                    pb.ListMessagesRequest(tags={"a": h}), pb.ListMessagesRequest(tags={h: "a"}),
                    pb.ListMessagesRequest(request_id=h), pb.ListMessagesRequest(provider=h), pb.ListMessagesRequest(recipient=h),
                    pb.ListMessagesRequest(page_token=h),
                    pb.SendEmailRequest(email=email_pb2.Email(to=[email_pb2.EmailAddress(address="a@b.cc")], subject="s", text="t", envelope_sender=h)),
                    pb.SendSmsRequest(sms=sms_pb2.Sms(to="+14155550123", text="t", sender_number=h)),
                    pb.SendSmsRequest(sms=sms_pb2.Sms(to="+14155550123", text="t", sender_id=h)),
                    pb.SendSmsRequest(sms=sms_pb2.Sms(to="+14155550123", text="t", india_dlt=sms_pb2.IndiaDlt(entity_id=h, template_id=h))),
                    pb.SendSmsRequest(sms=sms_pb2.Sms(to="+14155550123", template="otp", locale=h, variables={"code": "483920", "minutes": "5", "app": "x"})),
                ):
                    name = type(req).__name__.removesuffix("Request")
                    try:
                        await getattr(stub, name)(req, timeout=10)
                    except Exception as e:
                        code = e.code().name if hasattr(e, "code") else type(e).__name__
                        detail = e.details() if hasattr(e, "details") else str(e)
                        check(code in ("INVALID_ARGUMENT", "NOT_FOUND"), ("hostile", name, h, code, detail, str(req)[:80]))
                        if len(h) > 3:
                            check(h not in (detail or ""), ("echo", name, h, detail))
            # times
            for year in (1, 1960, 1970, 9999):
                t = pb.ListMessagesRequest()
                t.created_from.FromDatetime(datetime(year, 1, 1))
                r = await stub.ListMessages(t)
                check(bool(r.messages) == (year < 2000), ("created_from", year, len(r.messages)))
                t = pb.ListMessagesRequest()
                t.created_before.FromDatetime(datetime(year, 1, 1))
                r = await stub.ListMessages(t)
                check(bool(r.messages) == (year > 2000), ("created_before", year, len(r.messages)))
            for typed in ("bob＠example.com", " bob@example.com", "BOB@example.com"):
                try:
                    r = await stub.ListMessages(pb.ListMessagesRequest(recipient=typed))
                    check(len(r.messages) >= 1, ("recipient", typed))
                except Exception as e:
                    problems.append(("recipient", typed, e.details()))
            # SMTPUTF8 + gone + suppression
            smtp.replies["RCPT"] = "550 5.1.1 unknown"
            for who in ("josé@example.com", "JOSÉ@example.com", "Jose\u0301@example.com"):
                try:
                    await client.send_email(to=who, **E)
                    problems.append(("sent", who))
                except RelaypostError as e:
                    print(who, e.reason, e)
            smtp.replies.pop("RCPT")
            # Twilio second try, keyed, at most once
            twilio.reply = lambda r: refused(21657) if parse_qs(r.body.decode()).get("From") == ["Acme"] else HANG
            n = len(twilio.received)
            m = await client.send_sms(to="+4915112345678", text="x", sender_id="Acme", request_id="k1", at_most_once=True, timeout=4)
            check(m.state == message_pb2.MESSAGE_STATE_UNCONFIRMED, ("k1", m))
            m2 = await client.send_sms(to="+4915112345678", text="x", sender_id="Acme", request_id="k1", at_most_once=True, timeout=4)
            check(m2.message_id == m.message_id and len(twilio.received) == n + 2, ("k1 replay", len(twilio.received) - n))
            print("cost", m.cost, m.adjustments)
            print("errors", [x for x in g.logged if x.get("level") in ("error", "critical")][:5])
            check(not [x for x in g.logged if "exception" in x], [x for x in g.logged if "exception" in x][:3])
    for p in problems:
        print("PROBLEM", p)
    assert not problems
