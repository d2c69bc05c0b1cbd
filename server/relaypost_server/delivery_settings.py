"""The settings of what becomes of messages after a provider took them."""

from typing import Annotated, ClassVar

from pydantic import Field

from relaypost_server.settings import Settings, prefixed

MIB = 1024 * 1024


class DeliverySettings(Settings):
    """Confirmations are waited for as these say; see docs/silence.md."""

    model_config = prefixed("delivery")
    title: ClassVar = "Delivery"

    waiting_messages: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        10_000, description="the most messages that wait for a confirmation (`confirm_within`); more do not wait"
    )
    waiting_bytes: Annotated[int, Field(ge=0, le=4096 * MIB)] = Field(
        32 * MIB, description="the most bytes of memory that they take up together; default 32 MiB"
    )
