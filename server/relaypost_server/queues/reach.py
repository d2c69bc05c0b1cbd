"""Whether an engine can be reached. Nothing is made there and nothing is changed."""

import asyncio

from relaypost_server.core.queue import Lane
from relaypost_server.queues._urls import RabbitAddress, SqsAddress, parse

SECONDS = 10.0
"""For one answer."""


async def reach(url: str, *, endpoint: str | None = None) -> str:
    """What was found, in a few words. Raises QueueUnavailableError; its text is safe to show.

    `endpoint`: where SQS is, instead of AWS's own address for the region.
    """
    address = parse(url)
    return await _rabbit(address) if isinstance(address, RabbitAddress) else await _sqs(address, endpoint)


async def _rabbit(address: RabbitAddress) -> str:
    import aio_pika

    from relaypost_server.queues._rabbit_link import reaching

    async with reaching(SECONDS), await aio_pika.connect(address.url):
        return "RabbitMQ, connected"


async def _sqs(address: SqsAddress, endpoint: str | None) -> str:
    from relaypost_server.queues._sqs_client import MissingQueueError, SqsClient

    client = SqsClient(address.region, endpoint, seconds=SECONDS)

    async def is_missing(name: str) -> bool:
        try:
            await client.call("get_queue_url", QueueName=name)
        except MissingQueueError:
            return True
        return False

    names = [f"{address.prefix}-{lane.value}" for lane in Lane]
    found = await asyncio.gather(*map(is_missing, names))
    missing = [name for name, absent in zip(names, found, strict=True) if absent]
    return f"Amazon SQS, connected; will be made: {', '.join(missing)}" if missing else "Amazon SQS, connected"
