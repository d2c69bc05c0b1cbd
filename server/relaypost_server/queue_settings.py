"""The settings of the queue and its workers."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from relaypost_server.core.queue import Lane
from relaypost_server.queues import SqsAddress, parse
from relaypost_server.settings import Endpoint, Problem, Secret, Settings, prefixed

Hands = Annotated[int, Field(ge=0, le=1000)]


class QueueSettings(Settings):
    """Messages that are sent later wait, and are worked at, as these say."""

    model_config = prefixed("queue")
    title: ClassVar = "The queue"

    url: Secret | None = Field(
        None,
        description="amqp://user:password@host/vhost for RabbitMQ, sqs://region/prefix for Amazon SQS, see "
        "docs/queue.md; default: the gateway's own database",
    )
    endpoint: Endpoint | None = Field(
        None, description="a URL instead of Amazon SQS's own for the region, as of a VPC endpoint"
    )
    work_in_serve: bool = Field(
        True,
        description="false to leave the queue to `relaypost work`; default: `serve` works at it too",
    )
    lease_seconds: Annotated[float, Field(ge=4, le=3600)] = Field(
        60.0, description="how long a worker that died holds a message, in seconds"
    )
    dead_letter_days: Annotated[float, Field(gt=0, le=365)] = Field(
        14.0,
        description="how long a message that was given up may be queued again, in days; then its text is forgotten",
    )
    otp_hands: Hands = Field(32, description="messages that one worker sends at once on the lane for codes, 0 to 1000")
    transactional_hands: Hands = Field(32, description="the same on the transactional lane, 0 to 1000")
    bulk_hands: Hands = Field(32, description="the same on the bulk lane, 0 to 1000")

    @property
    def hands(self) -> Mapping[Lane, int]:
        return {
            Lane.OTP: self.otp_hands,
            Lane.TRANSACTIONAL: self.transactional_hands,
            Lane.BULK: self.bulk_hands,
        }

    def problems(self) -> list[Problem]:
        try:
            address = parse(self.url.get_secret_value()) if self.url else None
        except ValueError as error:
            fix = "Correct it as docs/queue.md says, or unset it to use the gateway's own database."
            return [Problem(setting="RELAYPOST_QUEUE_URL", what=str(error), fix=fix)]
        if self.endpoint and not isinstance(address, SqsAddress):
            fix = "Unset it, or set RELAYPOST_QUEUE_URL to sqs://region/prefix."
            return [Problem(setting="RELAYPOST_QUEUE_ENDPOINT", what="is set, but the queue is not in SQS", fix=fix)]
        return []
