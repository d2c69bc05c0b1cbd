"""A queue whose database is away."""

from typing import Any

from relaypost_server.api.emails import EmailReader
from relaypost_server.api.queue import QueueServicer
from relaypost_server.core.estimate import Estimator
from relaypost_server.core.message import Channel
from relaypost_server.core.ports import LogUnavailableError, MessageLog, Renderer
from relaypost_server.flow.bulk import Batches
from relaypost_server.flow.clock import Clock
from relaypost_server.flow.queueing import Queueing
from relaypost_server.telemetry.metrics import Metrics


class NoQueue:
    """A `QueueStore` and a `BatchStore` whose database is away."""

    async def enqueue(self, *_: Any, **__: Any) -> Any:
        raise LogUnavailableError

    earlier = claim = settle = hand_over = sweep = cancel = requeue = dead_letters = take = enqueue
    open = advance = find = progress = enqueue


def without_database(message_log: MessageLog, email_reader: EmailReader, templates: Renderer) -> QueueServicer:
    """The service of a queue that can be read, and not be filled."""
    store, tools = NoQueue(), {"on_stored": lambda: None, "metrics": Metrics(), "clock": Clock()}
    return QueueServicer(
        Queueing(store, message_log, **tools),  # type: ignore[arg-type]
        Batches(store, store, **tools),  # type: ignore[arg-type]
        email_reader=email_reader,
        templates=templates,
        channels=frozenset(Channel),
        estimator=Estimator({}),
    )
