"""Engines: each carries pointers to queued messages from those who accept to those who send."""

from relaypost_server.core.queue_ports import Queue
from relaypost_server.queues._urls import RabbitAddress, SqsAddress, parse

__all__ = ["SqsAddress", "open_queue", "parse"]


def open_queue(url: str, *, endpoint: str | None = None) -> Queue:
    """The engine that the URL names, not started yet; one that is not used is not loaded.

    `endpoint`: where SQS is, instead of AWS's own address for the region. Raises ValueError.
    """
    address = parse(url)
    if isinstance(address, RabbitAddress):
        from relaypost_server.queues.rabbitmq import RabbitQueue

        return RabbitQueue(address)
    from relaypost_server.queues.sqs import SqsQueue

    return SqsQueue(address, endpoint=endpoint)
