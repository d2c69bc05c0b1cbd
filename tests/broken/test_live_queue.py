"""More of two mechanisms at a time, through real processes."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from relaypost import AsyncClient, RelaypostError, bulk_email
from relaypost.v1 import message_pb2

from tests.e2e.gateway import gateway
from tests.fakes.smtp import fake_smtp

E = {"subject": "s", "text": "t"}


def name(m):
    return message_pb2.MessageState.Name(m.state).removeprefix("MESSAGE_STATE_")


async def settled(client, message_id, seconds=15):
    end = time.monotonic() + seconds
    while True:
        m = await client.get_message(message_id)
        if name(m) not in ("QUEUED", "SENDING") or time.monotonic() > end:
            return m
        await asyncio.sleep(0.1)


async def test_blame(bundled_database: str) -> None:
    problems = []
    async with fake_smtp(DOT="550 5.1.1 no such user") as smtp:
        environ = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(smtp.port), "RELAYPOST_SMTP_TLS": "none"}
        async with gateway(environ, database=bundled_database) as one, gateway(environ, database=bundled_database) as two:
            async with AsyncClient(one.grpc, caller="c") as a, AsyncClient(two.grpc, caller="c") as b:
                seen = []
                for client in (a, b, a):
                    try:
                        await client.send_email(to="x@example.com", request_id="k", **E)
                        seen.append("OK")
                    except RelaypostError as e:
                        seen.append((e.reason, str(e), e.message_id if hasattr(e, "message_id") else ""))
                print(seen)
                if len(set(seen)) != 1:
                    problems.append(("replays differ", seen))
                if len(smtp.received) != 1:
                    problems.append(("asked", len(smtp.received)))
                q = await a.enqueue_email(to="y@example.com", request_id="kq", **E)
                m = await settled(a, q.message_id)
                if name(m) != "REJECTED":
                    problems.append(("queued blame", name(m)))
                q2 = await b.enqueue_email(to="y@example.com", request_id="kq", **E)
                print("requeue same id", name(q2))
                if q2.message_id != q.message_id or name(q2) != "REJECTED":
                    problems.append(("enqueue replay", name(q2)))
                try:
                    r = await b.requeue_message(q.message_id)
                    problems.append(("requeued rejected", name(r)))
                except RelaypostError as e:
                    print("requeue", e.reason)
                # deferred in queue, then ok
                smtp.replies.pop(".")
                smtp.once["RCPT"] = "450 4.2.0 greylisted"
                q = await a.enqueue_email(to=" z@example.com", **E)
                m = await settled(b, q.message_id)
                if name(m) != "SENT" or len(m.attempts) != 2 or len(m.adjustments) != 1:
                    problems.append(("deferred", m))
                # bulk with pasted
                items = [bulk_email(to=f" u{n}@example.com\u200b", subject="s", text="t") for n in range(20)]
                res = await a.send_bulk("bulk1", items)
                items = [bulk_email(to=f"u{n}@example.com", subject="s", text="t") for n in range(20)]
                res2 = await b.send_bulk("bulk1", items)
                print("bulk", res, res2)
                for g in (one, two):
                    problems += [x for x in g.logged if x.get("level") in ("critical",) or "exception" in x]
    for p in problems:
        print("PROBLEM", p)
    assert not problems


async def test_sigterm_with_a_hanging_command(bundled_database: str, tmp_path: Path) -> None:
    problems = []
    pids = tmp_path / "pids"
    script = tmp_path / "token.py"
    script.write_text(f"import os,time\nopen({str(pids)!r},'a').write(f'{{os.getpid()}}\\n')\ntime.sleep(90)\n")
    async with fake_smtp() as smtp:
        environ = {
            "SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(smtp.port), "RELAYPOST_SMTP_TLS": "implicit", "SMTP_USER": "u",
            "RELAYPOST_SMTP_OAUTH_TOKEN_COMMAND": f"{sys.executable} {script}",
        }
        async with gateway(environ, database=bundled_database) as g, AsyncClient(g.grpc, caller="c") as client:
            sends = [asyncio.create_task(client.send_email(to=f"s{n}@example.com", request_id=f"k{n}", timeout=25, **E)) for n in range(15)]
            q = await client.enqueue_email(to="q@example.com", **E)
            await asyncio.sleep(2)
            began = time.monotonic()
            code = await g.stop(signal.SIGTERM)
            took = time.monotonic() - began
            done = await asyncio.gather(*sends, return_exceptions=True)
            print("exit", code, f"{took:.1f}", {str(getattr(d, "reason", d))[:60] for d in done})
            if code != 0 or took > 30:
                problems.append(("exit", code, took))
            await asyncio.sleep(0.3)
            left = [int(p) for p in pids.read_text().split() if os.path.exists(f"/proc/{p}")]
            print("commands", len(pids.read_text().split()), "left", left)
            if left:
                problems.append(("left", left))
                for p in left:
                    os.kill(p, 9)
            problems += [x for x in g.logged if "exception" in x]
            print([x for x in g.logged if x.get("level") in ("error", "warning")][:6])
    for p in problems:
        print("PROBLEM", p)
    assert not problems
