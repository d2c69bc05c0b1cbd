"""A name that the resolver says nothing about delays that name alone."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from tests.databases import fresh_database
from tests.fakes import names
from tests.fakes.http import answer, fake_http
from tests.faults.test_connections import lag
from tests.faults.world import kinds, until, world

DATABASE, PROVIDER = "database.example", "provider.example"
CLOSING = answer(200, b'{"MessageId":"id-1"}', Content_Type="application/json", Connection="close")
"""Each send needs a connection of its own."""
SENDS = 9
FAILURES = 8
"""So often the database has been out of reach: more look-ups than libuv has threads."""


async def test_a_database_whose_name_hangs_is_not_noticed_by_providers(outside: str, tmp_path: Path) -> None:
    silent: set[str] = set()
    async with (
        fresh_database(outside) as url,
        names.resolver(tmp_path, known={DATABASE, PROVIDER}, silent=silent) as within,
        fake_http(CLOSING) as ses,
    ):
        named = url.replace(urlsplit(url).hostname or "", DATABASE, 1)
        environ = {"RELAYPOST_SES_ENDPOINT": f"http://{PROVIDER}:{ses.port}"}
        async with world(named, environ, within=within) as running:
            assert (await running.email(request_id="before")).provider == "ses"
            silent.add(DATABASE)
            await end_connections(url)
            await until(lambda: len(running.gateway.events("database cannot be used")) >= FAILURES, 60.0)
            async with lag(running) as measured:
                sent = [await running.email() for _ in range(SENDS)]
            assert [kinds(message) for message in sent] == [[("ses", "ACCEPTED")]] * SENDS
            assert ses.connections == 1 + SENDS
            assert sorted(measured)[int(len(measured) * 0.95)] < 0.5

            silent.clear()
            async with asyncio.timeout(60):
                while not (await running.client.provider_health()).message_log.available:
                    await asyncio.sleep(0.05)
            assert (await running.email(request_id="after")).provider == "ses"


async def end_connections(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()
