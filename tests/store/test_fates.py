"""What became of messages, counted by a real PostgreSQL."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from relaypost_server.core.delivery import EventType, RejectReason
from relaypost_server.core.message import MessageState
from relaypost_server.core.outcome import Kind
from relaypost_server.core.record import MessageRecord
from relaypost_server.store import fates as module, writer
from relaypost_server.store.deliveries import PostgresDeliveries
from relaypost_server.store.fates import PostgresFates
from relaypost_server.store.messages import PostgresLog
from tests.store.databases import opened
from tests.store.records import START
from tests.store.test_silences import attempt, receipt, texted

HOUR = timedelta(hours=1)


async def test_each_send_counts_by_its_most_telling_receipt(
    bundled_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "ANSWER_SECONDS", 30.0)
    async with opened(bundled_database, tmp_path) as database:
        log, deliveries, counted = PostgresLog(database), PostgresDeliveries(database), PostgresFates(database)
        start = START + timedelta(days=1)

        def made(minutes: float, **changes: Any) -> MessageRecord:
            return texted(create_time=start + timedelta(minutes=minutes), **changes)

        twice = (attempt("sns", Kind.UNREACHABLE), attempt("twilio", Kind.ACCEPTED), attempt("sns", Kind.ACCEPTED))
        sent = [made(n) for n in range(6)]
        both = made(6, attempts=twice, country="IN")
        failed = made(7, attempts=(attempt("sns", Kind.FAULTED),), state=MessageState.FAILED)
        for one in (*sent, both, failed, made(-1), made(61)):
            await log.append(one)
        bad = {"reject_reason": RejectReason.INVALID}
        await deliveries.record(
            [
                receipt(EventType.SENT, sent[0], "sns"),
                receipt(EventType.DELIVERED, sent[1], "sns"),
                receipt(EventType.OPENED, sent[1], "sns"),
                receipt(EventType.BOUNCED, sent[2], "sns", permanent=False, **bad),
                receipt(EventType.DELIVERED, sent[2], "sns"),
                receipt(EventType.BOUNCED, sent[3], "sns", **bad),
                receipt(EventType.FAILED, sent[4], "twilio"),
                receipt(EventType.DELIVERED, both, "twilio"),
            ]
        )

        async def counts(*providers: str) -> Counter[object]:
            found = await counted.fates(providers, created=(start, start + HOUR))
            return Counter({(f.provider, f.country, f.kind, f.reason): f.messages for f in found})

        invalid = RejectReason.INVALID
        assert await counts("sns", "twilio") == {
            ("sns", "US", EventType.DELIVERED, None): 2,
            ("sns", "US", EventType.BOUNCED, invalid): 1,
            ("sns", "US", None, None): 3,
            ("sns", "IN", None, None): 1,
            ("twilio", "IN", EventType.DELIVERED, None): 1,
        }
        assert await counts("twilio") == {("twilio", "IN", EventType.DELIVERED, None): 1}
        monkeypatch.setattr(module, "MOST_MESSAGES", 3)
        assert (await counts("sns")).total() == 2
