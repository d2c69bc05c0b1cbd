"""The settings of the console, apart from what sends: every start reads them, whichever provider is configured."""

from typing import ClassVar

from pydantic import Field

from relaypost_server.providers._settings import ProviderSettings
from relaypost_server.settings import prefixed


class ConsoleSettings(ProviderSettings):
    """The console takes part where a channel has no real provider, outside production."""

    model_config = prefixed("console")
    title: ClassVar = "Console"

    priority: int = Field(4, ge=1, le=1000, description="its place in its chain, from 1 (asked first) to 1000")
    beside_real: bool = Field(False, description="true to use it beside real providers as well; default false")
    show_codes: bool = Field(
        False, description="true to print numbers of 4 to 10 digits, such as one-time passwords; default false"
    )

    @property
    def configured(self) -> bool:
        return True
