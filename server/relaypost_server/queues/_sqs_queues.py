"""The queues in Amazon SQS: one for each lane, made unless it exists."""

import asyncio
from collections.abc import Mapping

import structlog

from relaypost_server.core.queue import Lane
from relaypost_server.queues._sqs_client import MissingQueueError, RefusedError, SqsClient
from relaypost_server.settings import Problem, SettingsError

SETTING = "RELAYPOST_QUEUE_URL"

log = structlog.get_logger("relaypost.queue")


class SqsQueues:
    """Their URLs, looked up once."""

    def __init__(self, client: SqsClient, prefix: str, visibility: int) -> None:
        self._client = client
        self._names = {lane: f"{prefix}-{lane.value}" for lane in Lane}
        self._visibility = visibility
        self._urls: Mapping[Lane, str] | None = None
        self._looking = asyncio.Lock()

    async def check(self) -> None:
        """Raises SettingsError where AWS refuses the gateway, QueueUnavailableError where it cannot be asked."""
        try:
            await self._known()
        except RefusedError as error:
            names = ", ".join(self._names.values())
            raise SettingsError(
                [
                    Problem(
                        setting=SETTING,
                        what=f"names queues that AWS does not let this gateway find or make: {error}",
                        fix=f"Make {names} and allow what docs/queue.md lists, or allow sqs:CreateQueue as well.",
                    )
                ]
            ) from error

    async def url(self, lane: Lane) -> str:
        """Raises QueueUnavailableError."""
        return (await self._known())[lane]

    def forget(self) -> None:
        """A queue is gone: the next look-up makes it anew."""
        self._urls = None

    async def _known(self) -> Mapping[Lane, str]:
        async with self._looking:
            if self._urls is None:
                found = await asyncio.gather(*(self._find_or_make(name) for name in self._names.values()))
                self._urls = dict(zip(self._names, found, strict=True))
            return self._urls

    async def _find_or_make(self, name: str) -> str:
        try:
            answer = await self._client.call("get_queue_url", QueueName=name)
        except MissingQueueError:
            attributes = {"VisibilityTimeout": str(self._visibility)}
            answer = await self._client.call("create_queue", QueueName=name, Attributes=attributes)
            log.info("queue made", queue=name)
        return str(answer["QueueUrl"])
