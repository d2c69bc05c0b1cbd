"""Prices of SNS: it writes one for each text message into CloudWatch Logs, where that is switched on.

Form: docs.aws.amazon.com/sns/latest/dg/sms_stats_cloudwatch.html. Some carriers answer after 72 hours.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any

import orjson
from botocore.exceptions import ClientError

from relaypost_server.core.accounts import AccountError
from relaypost_server.core.money import Money
from relaypost_server.core.price_ports import PricesUnavailableError, Unpriced
from relaypost_server.providers._aws import asked, control_client

IDS_A_SEARCH = 20
"""A filter pattern has at most 1,024 characters; an id takes 39."""
PAGES = 10
"""Of one search, at most: a page may be empty and still not be the last."""
SLACK = timedelta(minutes=5)
"""By which clocks may differ."""
FAILURES = "/Failure"
"""Failed messages are in a group beside the others', and are billed as well."""


class SnsPrices:
    """Searches the log for ids, in a thread."""

    def __init__(self, *, group: str, region: str, endpoint: str | None, timeout: float) -> None:
        self._group = group
        self._client = partial(control_client, "logs", region=region, endpoint=endpoint, timeout=timeout)

    async def prices(self, sent: Sequence[Unpriced]) -> Mapping[str, Money]:
        """Those that are in the log by now. Raises PricesUnavailableError."""
        try:
            return await asyncio.to_thread(self._search_all, sent)
        except AccountError as error:
            raise PricesUnavailableError(str(error)) from None

    def _search_all(self, sent: Sequence[Unpriced]) -> dict[str, Money]:
        """Needs logs:FilterLogEvents."""
        found: dict[str, Money] = {}
        with asked("sns"):
            client, rest = self._client(), iter(sent)
            while some := list(islice(rest, IDS_A_SEARCH)):
                for group in (self._group, self._group + FAILURES):
                    found |= _search(client, group, some)
        return found


def _search(client: Any, group: str, sent: Sequence[Unpriced]) -> dict[str, Money]:
    ids = {each.provider_message_id for each in sent}
    since = min(each.start_time for each in sent) - SLACK
    found = {}
    for event in _events(client, group, since.timestamp(), " ".join(f'?"{i}"' for i in sorted(ids))):
        try:
            entry = orjson.loads(event["message"])
            name, price = entry["notification"]["messageId"], Decimal(str(entry["delivery"]["priceInUSD"]))
            if name in ids:
                found[name] = Money.of(price)
        except (ValueError, TypeError, KeyError, ArithmeticError):
            continue  # Somebody else's entry.
    return found


def _events(client: Any, group: str, since: float, pattern: str) -> Iterator[Mapping[str, Any]]:
    query: dict[str, Any] = {"logGroupName": group, "startTime": int(since * 1000), "filterPattern": pattern}
    for _ in range(PAGES):
        try:
            page = client.filter_log_events(**query)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "ResourceNotFoundException":
                raise
            return  # The group appears with its first entry.
        yield from page.get("events", ())
        if not page.get("nextToken"):
            return
        query["nextToken"] = page["nextToken"]
