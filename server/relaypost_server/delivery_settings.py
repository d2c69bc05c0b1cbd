"""The settings of what becomes of messages after a provider took them."""

from typing import Annotated, ClassVar

from pydantic import Field

from relaypost_server.core.delivery_rates import SicknessPolicy
from relaypost_server.settings import Settings, prefixed

MIB = 1024 * 1024


class DeliverySettings(Settings):
    """Confirmations are waited for, and what arrives is judged, as these say; see docs/silence.md."""

    model_config = prefixed("delivery")
    title: ClassVar = "Delivery"

    waiting_messages: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        10_000, description="the most messages that wait for a confirmation (`confirm_within`); more do not wait"
    )
    waiting_bytes: Annotated[int, Field(ge=0, le=4096 * MIB)] = Field(
        32 * MIB, description="the most bytes of memory that they take up together; default 32 MiB"
    )
    window_minutes: Annotated[float, Field(ge=1, le=1440)] = Field(
        30.0, description="what the part of messages that arrive looks back over, in minutes"
    )
    settle_minutes: Annotated[float, Field(ge=0, le=1440)] = Field(
        5.0, description="how long a message's receipt may take before its absence counts, in minutes"
    )
    bench_below: Annotated[float, Field(ge=0, le=1)] = Field(
        0.3, description="a provider is benched of whose messages a smaller part arrives, 0 to 1; 0: never"
    )
    bench_least: Annotated[int, Field(ge=1, le=20_000)] = Field(
        50, description="the fewest messages of the window that say anything about a provider"
    )

    @property
    def sickness(self) -> SicknessPolicy:
        return SicknessPolicy(below=self.bench_below, least=self.bench_least)
