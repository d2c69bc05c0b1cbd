"""`relaypost suppression` against a gateway over a real socket, on a real PostgreSQL; and hostile files."""

import asyncio
import json
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from relaypost import Client
from relaypost.v1 import suppression_service_pb2 as pb

from relaypost_server.cli import main, suppression_csv as csv
from relaypost_server.core.suppression import SuppressionPolicy
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.suppressions import Suppressions
from relaypost_server.store.suppressions import PostgresSuppressions
from relaypost_server.telemetry.metrics import Metrics
from tests.api.conftest import Serve, serve
from tests.store.databases import opened

__all__ = ["serve"]
HEADING = b"address,reason,note\n"


class Shell:
    """Runs the command beside the gateway that it talks to."""

    def __init__(self, target: str) -> None:
        self._target = target

    async def __call__(self, *arguments: str) -> Result:
        command = ["suppression", *arguments, "--target", self._target]
        return await asyncio.to_thread(CliRunner().invoke, main, command)

    async def good(self, *arguments: str) -> str:
        result = await self(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout


@pytest.fixture
async def shell(serve: Serve, bundled_database: str, tmp_path: Path) -> AsyncIterator[Shell]:
    async with opened(bundled_database, tmp_path) as database:
        suppressions = Suppressions(
            PostgresSuppressions(database),
            refresh_seconds=3600.0,
            policy=SuppressionPolicy(),
            metrics=Metrics(),
            clock=Clock(),
        )
        yield Shell((await serve(suppressions=suppressions)).target)


def read(*lines: bytes) -> list[csv.Line]:
    return list(csv.read(BytesIO(b"".join(lines))))


async def test_what_is_added_is_shown_and_removed(shell: Shell) -> None:
    assert await shell.good("add", "Ada@example.com", "--reason", "complained") == "ada@example.com  added\n"
    added = json.loads(
        await shell.good("add", "+1 415 555 0123", "--until", "2099-01-01", "--note", "[bold]", "--json")
    )
    assert added["suppression"]["expireTime"] == "2099-01-01T00:00:00Z"
    shown = await shell.good("list")
    assert "complained" in shown
    assert "[bold]" in shown
    [one] = json.loads(await shell.good("list", "--address", "ADA@example.com", "--json"))["suppressions"]
    assert one["address"] == "ada@example.com"
    assert await shell.good("remove", "ada@example.com") == "removed\n"
    assert json.loads(await shell.good("remove", "ada@example.com", "--json")) == {"removed": False}


async def test_a_mistake_ends_it_with_2(shell: Shell) -> None:
    result = await shell("add", "ada")
    assert result.exit_code == 2
    assert result.stderr.startswith("address is not")


async def test_what_is_exported_can_be_imported(shell: Shell, tmp_path: Path) -> None:
    file, again = tmp_path / "list.csv", tmp_path / "again.csv"
    lines = ["address,reason,source,provider,note,expire_time"]
    for number in range(1203):
        note = ("plain", '"""quoted"", and more"', "é ; 'x'")[number % 3]
        source = "bounced,event,ses" if number % 2 else "manual,,"
        lines.append(f"{number}@example.com,{source},{note},{'' if number % 5 else '2099-01-01T00:00:00Z'}")
    file.write_text("\n".join(lines))
    assert "1203 added, 0 on the list before, 0 not taken" in await shell.good("import", str(file))
    exported = await shell.good("export")
    assert exported.count("\n") == 1204
    await shell.good("export", str(again))
    assert again.read_text() == exported
    counts = json.loads(await shell.good("import", str(again), "--json"))
    assert counts == {"changed": 0, "unchanged": 1203, "problems": []}
    assert "1203 added" in await shell.good("import", str(again), "--caller", "billing")
    assert await shell.good("export", "--caller", "billing") == exported


async def test_every_bad_line_is_told_by_its_number_and_the_others_are_taken(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "hostile.csv"
    lines = [
        b"\xef\xbb\xbfAddress,reason,note\r\n",
        b"a@example.com,bounced,fine\r\n",
        b'b@example.com,bounced,"a quote that never ends\r\n',
        b"c@example.com,bounced,\xff\xfe\r\n",
        b"\r\n",
        b"d@example.com,bounced\r\n",
        b"e@example.com,because,\r\n",
        b"nobody,bounced,\r\n",
        b"f@example.com,bounced,a\x00b\r\n",
        b"g@example.com,bounced," + b"x" * 300_000 + b"\r\n",
        b"h@example.com,bounced,a\rb\r\n",
        b"'); DROP TABLE relaypost.suppressions;--@example.com,,\r\n",
        b'"i@example.com\nbcc: j@example.com",,\r\n',
        b"a@example.com,bounced,fine\r\n",
        b"+14155550123,unsubscribed,the last line has no end",
    ]
    file.write_bytes(b"".join(lines))
    result = await shell("import", str(file))
    assert result.exit_code == 1
    bad = [line.split(":")[0] for line in result.stderr.splitlines()]
    assert bad == [f"line {n}" for n in (3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14)]
    assert result.stdout == "2 added, 1 on the list before, 11 not taken\n"
    assert "nobody" not in result.output
    found = json.loads(await shell.good("list", "--json"))["suppressions"]
    assert [s["address"] for s in found] == ["+14155550123", "a@example.com"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n\n",
        b"a@example.com\n",
        b"address,address\n",
        b"address,colour\n",
        b"\xff\xfea\x00d\x00d\x00r\x00",
        b'"address\n',
        b"a" * 100_000,
        bytes(range(256)) * 50,
    ],
    ids=range(9),
)
async def test_a_file_whose_first_line_names_no_columns_is_refused(text: bytes, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes(text)
    result = await asyncio.to_thread(CliRunner().invoke, main, ["suppression", "import", str(file)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("the first line")


async def test_a_gateway_that_is_away_is_told_with_the_line_that_was_reached(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes(b"address\n" + b"".join(b"%d@example.com\n" % n for n in range(3)))
    command = ["suppression", "import", str(file), "--target", "127.0.0.1:1", "--timeout", "1"]
    result = await asyncio.to_thread(CliRunner().invoke, main, command)
    assert result.exit_code == 1
    assert "not imported after line 0; repeat the import" in result.stderr


def test_a_line_that_is_too_long_is_read_in_pieces_and_counted_once() -> None:
    long, short = read(HEADING, b"x" * 50_000 + b",,\n", b"a@example.com,,\n")
    assert (long.number, long.entry, short.number) == (2, None, 3)
    assert short.entry == pb.Suppression(address="a@example.com")


def test_what_is_written_is_what_is_read() -> None:
    entry = pb.Suppression(
        address="a@example.com",
        reason=pb.SUPPRESSION_REASON_UNSUBSCRIBED,
        source=pb.SUPPRESSION_SOURCE_PROVIDER,
        provider="sns",
        note='=1+1, "quoted" and é',
        all_callers=True,
    )
    entry.create_time.FromJsonString("2026-07-01T12:00:00.123456Z")
    entry.expire_time.FromJsonString("2099-07-01T12:00:00Z")
    [line] = read(csv.heading().encode(), csv.written(entry).encode())
    assert line.entry == entry


def test_the_client_names_reasons_as_the_list_does() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(ValueError, match="BECAUSE"):
        client.add_suppression("a@example.com", reason="because")
