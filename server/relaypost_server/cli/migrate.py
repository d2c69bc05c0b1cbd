"""`relaypost migrate`."""

import asyncio
import sys
from collections.abc import Sequence

import asyncpg
import click

from relaypost_server.cli._common import FAILED, as_json, print_json
from relaypost_server.cli._configuration import configuration
from relaypost_server.config import Config
from relaypost_server.store import migrations
from relaypost_server.store.embedded import EmbeddedPostgres, EmbeddedPostgresError, running_url
from relaypost_server.telemetry import logs


@click.command()
@as_json
def migrate(as_json: bool) -> None:
    """Bring the database's schema up to date. Safe to repeat."""
    logs.configure(level="ERROR")  # To standard error, whatever the bundled PostgreSQL tells.
    try:
        applied = asyncio.run(_migrate(configuration()))
    except (OSError, asyncpg.PostgresError, asyncpg.InternalClientError, EmbeddedPostgresError) as error:
        click.echo(f"cannot migrate: {error}", err=True)
        sys.exit(FAILED)
    if as_json:
        print_json({"applied": [m.name for m in applied]})
    else:
        click.echo("\n".join(f"applied {m.name}" for m in applied) or "nothing to do")


async def _migrate(config: Config) -> Sequence[migrations.Migration]:
    if config.gateway.database_url:
        return await _migrate_at(config.gateway.database_url.get_secret_value())
    url = running_url(config.gateway.data_dir)
    if url:
        return await _migrate_at(url)
    embedded = EmbeddedPostgres(config.gateway.data_dir)
    await embedded.start()
    try:
        return await _migrate_at(embedded.url)
    finally:
        await embedded.stop()


async def _migrate_at(url: str) -> Sequence[migrations.Migration]:
    connection = await asyncpg.connect(url)
    try:
        return await migrations.migrate(connection)
    finally:
        await connection.close()
