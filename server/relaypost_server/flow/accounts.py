"""Asks the accounts behind providers, in a thread, and no more often than the vendors like."""

import asyncio
from collections.abc import Iterable
from typing import Any, TypeVar

import structlog

from relaypost_server.core.accounts import (
    AccountError,
    AccountTrouble,
    EmailAccount,
    SenderIdentity,
    SendingQuota,
    SmsAccount,
    SmsSpend,
)
from relaypost_server.core.money import Money
from relaypost_server.core.redaction import mask
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.fresh import Fresh

QUOTA_SECONDS = 30.0
"""SES answers GetAccount once a second, for all who ask."""
SENDER_SECONDS = 10.0
"""The same holds for its identities, and somebody may be waiting for the click on a link."""
SPEND_SECONDS = 60.0
"""CloudWatch has a new figure every few minutes."""

log = structlog.get_logger("relaypost.accounts")

A = TypeVar("A")


class AccountsReader:
    """What an operator may know and change about accounts. Its methods raise AccountError."""

    def __init__(self, providers: Iterable[Any], *, clock: Clock) -> None:
        """`providers`: those that have an `account` take part, the first of each kind."""
        accounts = [account for p in providers if (account := getattr(p, "account", None)) is not None]
        self._emails = next((a for a in accounts if isinstance(a, EmailAccount)), None)
        self._texts = next((a for a in accounts if isinstance(a, SmsAccount)), None)
        self._senders = Fresh[SenderIdentity](seconds=SENDER_SECONDS, clock=clock)
        self._quota = Fresh[SendingQuota](seconds=QUOTA_SECONDS, clock=clock)
        self._spend = Fresh[SmsSpend](seconds=SPEND_SECONDS, clock=clock)

    async def verify_sender(self, address: str) -> SenderIdentity:
        account = _configured(self._emails, "ses")
        found = await self._senders.get(address, lambda: asyncio.to_thread(account.verify_sender, address))
        if found.requested:
            log.info("verification of a sender requested", sender=mask(address))
        return found

    async def sending_quota(self) -> SendingQuota:
        account = _configured(self._emails, "ses")
        return await self._quota.get("", lambda: asyncio.to_thread(account.sending_quota))

    async def sms_spend(self) -> SmsSpend:
        account = _configured(self._texts, "sns")
        return await self._spend.get("", lambda: asyncio.to_thread(account.sms_spend))

    async def set_monthly_spend_limit(self, limit: Money) -> None:
        account = _configured(self._texts, "sns")
        await asyncio.to_thread(account.set_monthly_spend_limit, limit)
        self._spend.forget("")
        log.warning("monthly spend limit of text messages changed", limit_micros=limit.micros)


def _configured(account: A | None, provider: str) -> A:
    if account is None:
        detail = f"{provider} is not configured at this gateway"
        raise AccountError(AccountTrouble.NOT_CONFIGURED, provider=provider, detail=detail)
    return account
