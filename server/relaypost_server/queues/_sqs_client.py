"""Calls to Amazon SQS: in threads, within bounds, and with one kind of error."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError, ProfileNotFound
from botocore.parsers import ResponseParserError

from relaypost_server.core.queue_ports import QueueUnavailableError
from relaypost_server.queues._daemons import Daemons

THREADS = 24
LONGEST_POLL = 5
"""Seconds for which a call may wait for messages."""
CONNECT_SECONDS = 3.0
READ_SECONDS = LONGEST_POLL + 3.0
CALL_SECONDS = 20.0
"""For a call with all that botocore does about it: look-ups of names and credentials, a second try."""
BATCH_TRIES = 4
BATCH_PAUSE = 0.1
"""Seconds at most before the second try with what was refused; twice as long before each further one."""
STALE = frozenset({"ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue"})
"""Codes for a message that is not in this hand any more."""
_MISSING = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, ProfileNotFound)


class RefusedError(QueueUnavailableError):
    """AWS does not know the gateway, or does not let it do this: time cures nothing."""


class MissingQueueError(QueueUnavailableError):
    """There is no such queue."""


class SqsClient:
    """Every method raises QueueUnavailableError or one of those above."""

    def __init__(self, region: str, endpoint: str | None, *, seconds: float) -> None:
        """`seconds`: for one call."""
        self._region = region
        self._endpoint = endpoint
        self._seconds = seconds
        self._threads = Daemons(THREADS)
        self._opening = asyncio.Lock()
        self._client: Any = None

    async def call(self, operation: str, **arguments: object) -> Mapping[str, Any]:
        """What SQS answered to an operation that bears the name of boto3's method."""
        try:
            client = await self._open()
            answer: Mapping[str, Any] = await self._threads.run(
                partial(getattr(client, operation), **arguments), seconds=self._seconds
            )
        except ClientError as error:
            raise _translated(error) from error
        except _NO_CREDENTIALS as error:
            raise RefusedError("no AWS credentials") from error
        except (BotoCoreError, ResponseParserError, OSError, RuntimeError) as error:
            raise QueueUnavailableError(type(error).__name__) from error
        return answer

    async def batch(
        self,
        operation: str,
        url: str,
        entries: Sequence[Mapping[str, object]],
        *,
        settled: frozenset[str] = frozenset(),
    ) -> None:
        """An operation on up to ten messages; those that SQS refuses are tried again, unless with a `settled` code."""
        left = [{"Id": str(number), **entry} for number, entry in enumerate(entries)]
        for tried in range(BATCH_TRIES):
            answer = await self.call(operation, QueueUrl=url, Entries=left)
            failed = {f["Id"]: str(f.get("Code", "")) for f in answer.get("Failed", ()) if f.get("Code") not in settled}
            left = [entry for entry in left if entry["Id"] in failed]
            if not left:
                return
            await asyncio.sleep(random.random() * BATCH_PAUSE * (1 << tried))  # noqa: S311 - spreads load
        raise QueueUnavailableError(failed.popitem()[1])

    async def _open(self) -> Any:
        async with self._opening:
            if self._client is None:
                self._client = await self._threads.run(self._make, seconds=self._seconds)
            return self._client

    def _make(self) -> Any:
        config = Config(
            retries={"total_max_attempts": 2, "mode": "standard"},
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=THREADS,
        )
        return boto3.Session().client("sqs", region_name=self._region, endpoint_url=self._endpoint, config=config)


def _translated(error: ClientError) -> QueueUnavailableError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in _MISSING:
        return MissingQueueError(code)
    refused = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (401, 403)
    return RefusedError(code) if refused else QueueUnavailableError(code)
