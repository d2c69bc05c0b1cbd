"""One lane in Amazon SQS: its calls, ten messages in each where there are as many."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from relaypost_server.core.queue import Lane
from relaypost_server.queues._sqs_client import STALE, MissingQueueError, SqsClient
from relaypost_server.queues._sqs_gathered import Gathered
from relaypost_server.queues._sqs_queues import SqsQueues

BATCH = 10
"""Messages in one call, as SQS allows."""
AT_ONCE = 4
"""Calls of one kind."""


class SqsLane:
    """Every method raises QueueUnavailableError."""

    def __init__(self, client: SqsClient, queues: SqsQueues, lane: Lane) -> None:
        self._client = client
        self._queues = queues
        self._lane = lane
        self._deletions: Gathered[str] = Gathered(self._delete, most=BATCH, at_once=AT_ONCE)

    async def send(self, bodies: Sequence[str]) -> None:
        await self._batches("send_message_batch", [{"MessageBody": body} for body in bodies])

    async def receive(self, most: int, *, seconds: int, hidden: int) -> Sequence[tuple[str, str]]:
        """Receipt handles and bodies of up to ten messages; waits for `seconds`, and hides them for `hidden`."""
        answer = await self._call(
            "receive_message",
            MaxNumberOfMessages=min(most, BATCH),
            WaitTimeSeconds=seconds,
            VisibilityTimeout=hidden,
        )
        return [(m["ReceiptHandle"], m["Body"]) for m in answer.get("Messages", ())]

    async def delete(self, handles: Sequence[str]) -> None:
        await self._deletions.add(handles)

    async def hide(self, handles: Sequence[str], seconds: int) -> None:
        """Shows messages to others after `seconds` from now."""
        entries = [{"ReceiptHandle": handle, "VisibilityTimeout": seconds} for handle in handles]
        await self._batches("change_message_visibility_batch", entries, settled=STALE)

    async def _delete(self, handles: Sequence[str]) -> None:
        await self._batches("delete_message_batch", [{"ReceiptHandle": h} for h in handles], settled=STALE)

    async def _batches(
        self, operation: str, entries: Sequence[Mapping[str, object]], *, settled: frozenset[str] = frozenset()
    ) -> None:
        parts = [entries[at : at + BATCH] for at in range(0, len(entries), BATCH)]
        for at in range(0, len(parts), AT_ONCE):
            await asyncio.gather(*(self._batch(operation, part, settled) for part in parts[at : at + AT_ONCE]))

    async def _batch(self, operation: str, entries: Sequence[Mapping[str, object]], settled: frozenset[str]) -> None:
        url = await self._queues.url(self._lane)
        try:
            await self._client.batch(operation, url, entries, settled=settled)
        except MissingQueueError:
            self._queues.forget()
            raise

    async def _call(self, operation: str, **arguments: object) -> Mapping[str, Any]:
        url = await self._queues.url(self._lane)
        try:
            return await self._client.call(operation, QueueUrl=url, **arguments)
        except MissingQueueError:
            self._queues.forget()
            raise
