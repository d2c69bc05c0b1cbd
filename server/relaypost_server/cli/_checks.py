"""What `relaypost doctor` asks, and what it was told."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from relaypost_server.config import ChosenProvider, Config
from relaypost_server.core.advice import BusUnavailableError
from relaypost_server.core.message import Channel
from relaypost_server.core.ports import Finding, Level
from relaypost_server.core.queue_ports import QueueUnavailableError
from relaypost_server.providers._settings import ProxiedProviderSettings
from relaypost_server.queues.reach import reach
from relaypost_server.store import migrations

CHECK_SECONDS = 20.0
"""A check that takes longer is given up."""


@dataclass(frozen=True)
class Report:
    """What was found out about one provider, or about a server that the gateway leans on."""

    title: str
    channel: Channel | None
    findings: Sequence[Finding]

    @property
    def fails(self) -> bool:
        return any(f.level is Level.FAILURE for f in self.findings)

    @property
    def works(self) -> bool:
        """Nothing failed, and something was found out: silence is not counted on."""
        return not self.fails and any(f.level in (Level.OK, Level.WARNING) for f in self.findings)


async def examine(config: Config) -> list[Report]:
    """All reports: of the database, of other servers that are set up, of each provider, and of proxies."""
    asked = [_database(config)]
    if config.queue.url is not None:
        asked.append(_queue(config.queue.url.get_secret_value(), config.queue.endpoint))
    if config.advice.url is not None:
        asked.append(_redis(config.advice.url.get_secret_value(), config.advice.prefix))
    reports = await asyncio.gather(*asked, *(_provider(p) for p in config.providers))
    return [*reports, *_proxies(config)]


def _proxies(config: Config) -> Sequence[Report]:
    """Through which proxy each provider is reached, or what it needs; nothing where none is asked by HTTPS."""
    proxied = [(p.kind.name, p.settings) for p in config.providers if isinstance(p.settings, ProxiedProviderSettings)]
    found = [
        Finding(
            subject=f"{name}'s {what}" if what else name, level=Level.OK, detail=f"through {proxy}" if proxy else "none"
        )
        for name, settings in proxied
        if settings.asks_by_https
        for what, url in settings.over_https.items()
        for proxy in [settings.proxy_for(url)]
    ]
    return [Report("proxy", None, found)] if found else []


async def _provider(chosen: ChosenProvider) -> Report:
    provider = chosen.build()
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            findings = await provider.check()
    except TimeoutError:
        findings = [Finding(subject="check", level=Level.UNKNOWN, detail="no answer in time")]
    finally:
        await provider.close()
    return Report(chosen.kind.name, chosen.kind.channel, findings)


async def _database(config: Config) -> Report:
    if config.gateway.database_url is None:
        finding = Finding(subject="database", level=Level.OK, detail=f"bundled, in {config.gateway.data_dir}")
        return Report("message log", None, [finding])
    try:
        connection = await asyncpg.connect(config.gateway.database_url.get_secret_value(), timeout=5)
        pending = await migrations.pending(connection)
        await connection.close()
        finding = _schema(len(pending), auto_migrate=config.gateway.auto_migrate)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        fix = "Check RELAYPOST_DATABASE_URL."
        finding = Finding(subject="database", level=Level.FAILURE, detail=type(error).__name__, fix=fix)
    return Report("message log", None, [finding])


def _schema(pending: int, *, auto_migrate: bool) -> Finding:
    if pending and not auto_migrate:
        detail = f"connected; {pending} migrations are missing"
        return Finding(subject="database", level=Level.FAILURE, detail=detail, fix="Run `relaypost migrate`.")
    return Finding(subject="database", level=Level.OK, detail="connected")


async def _queue(url: str, endpoint: str | None) -> Report:
    """Of an engine that is not the database."""
    try:
        finding = Finding(subject="engine", level=Level.OK, detail=await reach(url, endpoint=endpoint))
    except QueueUnavailableError as error:
        fix = "Check RELAYPOST_QUEUE_URL. Until it is back messages are taken on, and none of them is sent."
        finding = Finding(subject="engine", level=Level.FAILURE, detail=f"out of reach ({error})", fix=fix)
    return Report("queue", None, [finding])


async def _redis(url: str, prefix: str) -> Report:
    """Gateways do without: nothing of it fails."""
    from relaypost_server.peers.redis import RedisBus

    bus = RedisBus(url, prefix=prefix)
    try:
        await bus.ping()
        finding = Finding(subject="Redis", level=Level.OK, detail="connected")
    except BusUnavailableError as error:
        fix = "Check RELAYPOST_REDIS_URL. Until it is back each gateway finds out by itself that a provider fails."
        finding = Finding(subject="Redis", level=Level.WARNING, detail=f"out of reach ({error})", fix=fix)
    finally:
        await bus.close()
    return Report("advice", None, [finding])
