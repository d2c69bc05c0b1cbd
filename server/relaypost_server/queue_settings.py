"""The settings of the queue and its workers."""

from collections.abc import Mapping
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import Field

from relaypost_server.core.queue import Lane
from relaypost_server.settings import Problem, Secret, Settings, prefixed

SCHEMES = ("amqp", "amqps", "sqs")
Hands = Annotated[int, Field(ge=0, le=1000)]


class QueueSettings(Settings):
    """Messages that are sent later wait, and are worked at, as these say."""

    model_config = prefixed("queue")
    title: ClassVar = "The queue"

    url: Secret | None = Field(
        None,
        description="amqp://user:password@host/vhost for RabbitMQ, sqs://region/prefix for Amazon SQS; "
        "default: the gateway's own database",
    )
    work_in_serve: bool = Field(
        True,
        description="false to leave the queue to `relaypost work`; default: `serve` works at it too",
    )
    lease_seconds: Annotated[float, Field(ge=4, le=3600)] = Field(
        60.0, description="how long a worker that died holds a message, in seconds"
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
        if self.url is None or urlsplit(self.url.get_secret_value()).scheme in SCHEMES:
            return []
        fix = f"Begin it with one of {', '.join(f'{s}://' for s in SCHEMES)}, or unset it."
        return [Problem(setting="RELAYPOST_QUEUE_URL", what="names no engine that there is", fix=fix)]
