"""The suppression list as this process knows it: a copy in memory, kept fresh from the database."""

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from relaypost_server.addresses.phones import as_sent_to
from relaypost_server.core.background import Task
from relaypost_server.core.failover import Attempt
from relaypost_server.core.message import Email, Message, Sms
from relaypost_server.core.ports import LogUnavailableError
from relaypost_server.core.redaction import mask
from relaypost_server.core.suppression import (
    Change,
    Reply,
    Suppression,
    SuppressionList,
    SuppressionPolicy,
    SuppressionReason,
    SuppressionSource,
    comparable,
)
from relaypost_server.core.suppression_ports import Cursor, SuppressionStore
from relaypost_server.flow.background import Background
from relaypost_server.flow.clock import Clock
from relaypost_server.telemetry.metrics import Metrics

LOAD_SECONDS = 10.0
"""How long a start waits for the first copy, before it goes on without one."""
RELOAD_SECONDS = 86_400.0
"""Between two looks at the whole list, which notice what changes do not tell."""
STOP_SECONDS = 0.5
"""For opt-outs that are still to be written when the gateway stops."""
MOST_PENDING = 10_000
"""Opt-outs that wait for the database; one that has no room is told by the provider again with the next send."""

_NOBODY: Mapping[str, SuppressionReason] = {}

log = structlog.get_logger("relaypost.suppressions")


class Screen(Protocol):
    """Knows who gets no messages."""

    def among(self, caller: str, recipients: Collection[str]) -> Mapping[str, SuppressionReason]:
        """Those of the recipients that get no messages of the caller, and why. Asks nobody."""
        ...

    def opted_out(self, message: Message[Email] | Message[Sms], provider: str) -> None:
        """Keeps in mind that a provider refused the message because its recipient wants none."""
        ...

    def bounced(self, message: Message[Email] | Message[Sms], provider: str, recipients: Collection[str]) -> None:
        """Keeps in mind that there are no such recipients of the message, as a provider said at once."""
        ...


def heed_refusals(screen: Screen, message: Message[Email] | Message[Sms], attempts: Sequence[Attempt]) -> None:
    """Tells the list what the answers of providers said about recipients of the message."""
    for attempt in attempts:
        if attempt.outcome.opted_out:
            screen.opted_out(message, attempt.provider)
        if attempt.outcome.gone:
            screen.bounced(message, attempt.provider, attempt.outcome.gone)


class NoScreen:
    """Where there is no list."""

    def among(self, caller: str, recipients: Collection[str]) -> Mapping[str, SuppressionReason]:
        return {}

    def opted_out(self, message: Message[Email] | Message[Sms], provider: str) -> None:
        return None

    def bounced(self, message: Message[Email] | Message[Sms], provider: str, recipients: Collection[str]) -> None:
        return None


class Suppressions(Background):
    """A `Screen` over the list that all replicas share.

    While the database is away the copy stays as it was: a send never waits for
    the list, and never fails for want of it.
    """

    def __init__(
        self,
        store: SuppressionStore,
        *,
        refresh_seconds: float,
        policy: SuppressionPolicy | None,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """`refresh_seconds`: between two looks at what has changed.

        `policy`: on which terms refusals add to the list; None: they do not.
        """
        self.store = store
        self._refresh_seconds = refresh_seconds
        self._policy = policy
        self._clock = clock
        self._list = SuppressionList()
        self._pending: dict[tuple[str, str], Suppression] = {}
        self._news = asyncio.Event()
        """Something waits to be written."""
        self._horizon = 0
        self._told: tuple[datetime, float] | None = None
        """The database's time, and the monotonic time at which it was read."""
        self._loaded_at = self._fresh_at = float("-inf")
        self._began = clock.monotonic()
        self._refreshing = asyncio.Lock()
        metrics.watch_suppressions(lambda: len(self._list), self.age)

    def age(self) -> float:
        """Seconds since the copy was known to be fresh; since the start where it never was."""
        return self._clock.monotonic() - max(self._fresh_at, self._began)

    def among(self, caller: str, recipients: Collection[str]) -> Mapping[str, SuppressionReason]:
        return self._list.among(caller, recipients, self._now()) if self._list.knows(recipients) else _NOBODY

    def opted_out(self, message: Message[Email] | Message[Sms], provider: str) -> None:
        self._learn(message, provider, message.content.recipients, SuppressionReason.UNSUBSCRIBED)

    def bounced(self, message: Message[Email] | Message[Sms], provider: str, recipients: Collection[str]) -> None:
        self._learn(message, provider, recipients, SuppressionReason.BOUNCED)

    async def put(self, wanted: Sequence[Suppression]) -> int:
        """Puts addresses on the list, here at once; how many were not there like that. Raises LogUnavailableError."""
        if not wanted:
            return 0
        changed = await self.store.put(wanted)
        self._list.apply(_change(s) for s in wanted)
        return changed

    async def remove(self, address: str, caller: str) -> bool:
        """Takes an address off, here at once. False: it was not on the list. Raises LogUnavailableError."""
        removed = await self.store.remove(address, caller)
        self._pending.pop((address, caller), None)
        self._list.apply([Change(address=address, caller=caller, reason=None)])
        return removed

    async def heard(self, reply: Reply) -> None:
        """Does as a person asks who wrote STOP or START. Raises LogUnavailableError."""
        if reply.wants_messages is None or self._policy is None:
            return
        reply = replace(reply, address=as_sent_to(reply.address))
        changed = await self.store.hear(reply)
        address, wanted = mask(reply.address), reply.wants_messages
        log.info("recipient replied", address=address, provider=reply.provider, wants_messages=wanted, changed=changed)
        self._news.set()

    async def load(self) -> None:
        """Fetches the list, or goes on without it where that takes too long."""
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                await self.refresh()
        except (LogUnavailableError, TimeoutError):
            log.warning("suppression list not known yet: nobody is suppressed until the database answers")

    async def stop(self) -> None:
        await super().stop()
        with contextlib.suppress(LogUnavailableError, TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._hand_over()

    async def refresh(self) -> None:
        """Catches up with the database: tells it what it does not know yet, then asks. Raises LogUnavailableError."""
        async with self._refreshing:
            await self._hand_over()
            horizon = await self._catch_up(self._list, self._horizon) if self._horizon else 0
            # Behind what was seen: it is another database, or an earlier state of it.
            if horizon < self._horizon or self._clock.monotonic() - self._loaded_at >= RELOAD_SECONDS:
                await self._load()
            else:
                self._horizon = horizon
            self._fresh_at = self._clock.monotonic()

    def tasks(self) -> Sequence[Task]:
        return [Task(name="suppression_refresh", round=self._round, pause=self._refresh_seconds)]

    async def _round(self) -> float:
        """Ends when the next refresh is due: after its time, or as soon as something waits to be written."""
        self._news.clear()
        await self.refresh()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._refresh_seconds):
                await self._news.wait()
        return 0.0

    def _learn(
        self,
        message: Message[Email] | Message[Sms],
        provider: str,
        recipients: Collection[str],
        reason: SuppressionReason,
    ) -> None:
        """Puts recipients of the message on the list: here at once, in the database soon."""
        if self._policy is None:
            return
        for recipient in recipients:
            found = self._policy.dated(
                Suppression(
                    address=comparable(recipient),
                    caller=message.caller,
                    reason=reason,
                    source=SuppressionSource.PROVIDER,
                    provider=provider,
                    message_id=message.id,
                    create_time=self._now(),
                )
            )
            told = {"address": mask(found.address), "provider": provider, "message_id": message.id}
            log.info("recipient suppressed", reason=reason.value, **told)
            self._list.apply([_change(found)])
            if len(self._pending) < MOST_PENDING:
                self._pending[found.address, found.caller] = found
                self._news.set()

    async def _hand_over(self) -> None:
        while self._pending:
            waiting = dict(self._pending)
            await self.store.note(list(waiting.values()))
            self._pending = {key: s for key, s in self._pending.items() if waiting.get(key) is not s}

    async def _load(self) -> None:
        """Begins anew, beside the copy that is in use."""
        loaded_at = self._clock.monotonic()
        fresh = SuppressionList()
        horizon = await self._catch_up(fresh, 0)
        self._list = fresh
        fresh.apply(_change(s) for s in self._pending.values())
        self._loaded_at, self._horizon = loaded_at, horizon  # Together: what follows may fail.
        await self.store.sweep()

    def _now(self) -> datetime:
        """The database's time, by which suppressions end: this machine's clock may be wrong."""
        if self._told is None:
            return self._clock.wall()
        time, at = self._told
        return time + timedelta(seconds=self._clock.monotonic() - at)

    async def _catch_up(self, known: SuppressionList, since: int) -> int:
        """Applies everything that has changed since then; from where to ask the next time."""
        page = await self.store.changes(Cursor(since=since))
        horizon = page.horizon
        self._told = page.time, self._clock.monotonic()
        known.apply(page.changes)
        while page.last is not None:
            page = await self.store.changes(Cursor(since=since, page=page.last))
            known.apply(page.changes)
        return horizon


def _change(found: Suppression) -> Change:
    return Change(address=found.address, caller=found.caller, reason=found.reason, expire_time=found.expire_time)
