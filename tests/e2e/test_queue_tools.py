"""`relaypost bulk` and `relaypost dead`, as people type them."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from relaypost import RelaypostError
from relaypost.v1 import message_pb2

from tests.e2e.test_process import run
from tests.e2e.test_queue import EMAIL, ONLY_SES, state
from tests.faults.providers import FAULT
from tests.faults.world import World, world

Type = Callable[..., Awaitable[tuple[int, str, str]]]


def typing(running: World) -> Type:
    """Runs a command against the gateway."""
    return lambda *arguments: run(*arguments, RELAYPOST_GRPC_ADDRESS=running.gateway.grpc)


async def test_a_file_is_checked_queued_and_watched_and_is_not_queued_twice(
    bundled_database: str, tmp_path: Path
) -> None:
    file = tmp_path / "readers.csv"
    lines = [f"reader{n}@example.com,Reader {n},Hello {n}" for n in range(5)]
    file.write_text("\ufeffto,name,text,subject\n" + "".join(f"{line},News\n" for line in lines) + "nobody,,x,y\n")
    async with world(bundled_database, ONLY_SES) as running:
        type_ = typing(running)
        code, out, err = await type_("bulk", str(file), "--dry-run")
        assert (code, out) == (1, "")
        assert "5 messages are valid, 1 are not" in err
        assert "line 7: email.to[0].address is not an email address" in err
        assert "estimated cost: 0.00 USD" in err
        assert running.providers.counts == {}
        code, out, _ = await type_("bulk", str(file), "--yes", "--watch", "--sender", "news@example.com")
        assert code == 1, "a line was refused"
        assert "5 messages (5 sent)" in out
        senders = [m.sender async for m in running.client.list_messages()]
        assert senders == ["news@example.com"] * 5
        code, out, err = await type_("bulk", str(file), "--yes", "--json")
        assert json.loads(out)["batch"]["size"] == "5"
        assert running.providers.counts == {"ses": 5}


async def test_a_file_without_a_valid_line_makes_no_batch(bundled_database: str, tmp_path: Path) -> None:
    file = tmp_path / "readers.csv"
    file.write_text("to,subject,text\nnobody,News,Hi\n")
    async with world(bundled_database, ONLY_SES) as running:
        code, out, err = await typing(running)("bulk", str(file), "--yes", "--name", "news")
        assert (code, out) == (1, "")
        assert "0 messages are valid, 1 are not" in err
        with pytest.raises(RelaypostError, match="no batch"):
            await running.client.get_batch("news")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("address,text\na@example.com,x\n", "one of them `to`"),
        ("", "one of them `to`"),
        ("to,text\na@example.com,x,y\n", "line 2 has more cells"),
        ('to,text\n"a@example.com,x\n', "cannot be read"),
    ],
)
async def test_a_file_that_is_no_list_of_messages_is_refused_by_line(
    tmp_path: Path, content: str, complaint: str
) -> None:
    file = tmp_path / "readers.csv"
    file.write_text(content)
    code, _, err = await run("bulk", str(file), "--yes")
    assert code == 2
    assert complaint in err


async def test_what_was_given_up_is_listed_and_queued_again(bundled_database: str) -> None:
    async with world(bundled_database, ONLY_SES) as running:
        type_ = typing(running)
        running.providers.ses.always(FAULT["ses"])
        expires = datetime.now(UTC) + timedelta(seconds=1)
        queued = await running.client.enqueue_email(**EMAIL, expire_time=expires)
        await state(running.client, queued.message_id, "DEAD")
        _, out, _ = await type_("dead", "list")
        assert "its time was over" in out
        running.providers.heal()
        code, out, _ = await type_("dead", "requeue", "--all")
        assert (code, out.strip()) == (0, "1 messages are in the queue again")
        sent = await state(running.client, queued.message_id, "SENT")
        assert sent.attempts[-1].kind == message_pb2.OUTCOME_KIND_ACCEPTED
